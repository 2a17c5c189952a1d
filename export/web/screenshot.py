"""python -m export.web.screenshot PICTURE.png: the page, built, opened and listening to the examples, as a picture."""

import base64
import contextlib
import io
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from PIL import Image

from export.web import chromium
from export.web.build import ROOT, build, fetched_runtime
from export.web.serve import served
from speechrnn import audio
from speechrnn.errors import InputError
from speechrnn.files import check_place, check_writable, replacing
from speechrnn.model import Model
from speechrnn.programs import ModelOption, report_errors, say

GAP_SECONDS = 1.2
NOISE = 1e-3  # of a quiet room, RMS; full scale 1.0


def speak(words: list[str], path: Path, gap_seconds: float = GAP_SECONDS) -> None:
    """A recording at 16 kHz of the examples of these words, one after the other, in a quiet room."""
    gap = np.zeros(round(gap_seconds * audio.SAMPLE_RATE), np.float32)
    parts = [gap]
    for word in words:
        parts += [audio.load(ROOT / "examples" / f"{word}.wav"), gap]
    sound = np.concatenate(parts)
    sound += NOISE * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32)
    soundfile.write(path, sound, audio.SAMPLE_RATE)


def _save(png: bytes, picture: Path) -> None:
    """Write a PNG with 256 colours, which is half as large and looks the same."""
    with replacing(picture) as file:
        Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)


def main(
    picture: Annotated[Path, typer.Argument(help="PNG to write")],
    model: ModelOption = None,
    runtime: Annotated[Path | None, typer.Option("--runtime", help="As in export.web", show_default=False)] = None,
    threshold: Annotated[float, typer.Option(min=0.01, max=1.0, help="Of all words")] = 0.5,
    words: Annotated[str, typer.Option(help="Of the examples")] = "yes,no,left,go,stop",
    width: Annotated[int, typer.Option(min=320)] = 1060,
    height: Annotated[int, typer.Option(min=320)] = 800,
    dark: Annotated[bool, typer.Option("--dark", help="In the dark colours")] = False,
) -> None:
    """Draw the page while it listens: a browser without a window takes the examples for its microphone.

    Example: python -m export.web.screenshot docs/web.png --dark
    """
    with report_errors(), contextlib.ExitStack() as stack:
        check_place(picture, "PICTURE")
        if chromium.find() is None:
            raise InputError("chromium: is not on the path: install it")
        loaded = Model(model)
        check_writable(picture, "PICTURE", loaded.path)
        if runtime is None:
            runtime = stack.enter_context(fetched_runtime())
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        build(work / "site", loaded, runtime)
        spoken = words.split(",")
        speak(spoken, work / "words.wav")
        browser = stack.enter_context(chromium.Browser(work / "words.wav", width=width, height=height, dark=dark))
        # The window's frame takes some of its size; the page gets all of it this way.
        browser.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        browser.command("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(f"{stack.enter_context(served(work / 'site'))}?threshold={threshold}")
        browser.wait("document.body.dataset.state === 'ready'")
        browser.evaluate("document.getElementById('listen').click()")
        browser.wait(f"document.querySelectorAll('#detections li').length >= {len(spoken)}")
        _save(base64.b64decode(browser.command("Page.captureScreenshot")["data"]), picture)
        say(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
