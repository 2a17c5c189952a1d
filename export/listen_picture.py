"""python -m export.listen_picture PICTURE.svg: the live view of `speechrnn listen` on the examples."""

import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from export.web.screenshot import speak
from speechrnn import audio
from speechrnn.cli.feeds import PIECE_SECONDS, Feed
from speechrnn.cli.listen import Listener
from speechrnn.cli.spotting import ThresholdOption, make_spotter
from speechrnn.cli.view import View
from speechrnn.files import check_writable, write
from speechrnn.model import Model
from speechrnn.programs import ModelOption, report_errors, say

WIDTH = 72  # characters
NAME = "demo.wav"


def main(
    picture: Annotated[Path, typer.Argument(help="SVG to write")],
    model: ModelOption = None,
    threshold: ThresholdOption = None,
    words: Annotated[str, typer.Option(help="Of the examples")] = "yes,left,stop,go,no",
    stop: Annotated[float, typer.Option(help="Draw so many seconds before the end", min=0.0)] = 1.06,
) -> None:
    """Draw what a terminal shows shortly after the last word, without a terminal.

    Example: python -m export.listen_picture docs/listen.svg --threshold yes=0.97
    """
    with report_errors():
        from rich.console import Console

        check_writable(picture, "PICTURE")
        recogniser = Model(model)
        with tempfile.TemporaryDirectory() as folder:
            speak(words.split(","), Path(folder) / NAME)
            sound = audio.load(Path(folder) / NAME)
        sound = sound[: len(sound) - round(stop * audio.SAMPLE_RATE)]
        spotter = make_spotter(recogniser, threshold, None)
        view = View(spotter, recogniser.labels, Console(file=io.StringIO()))
        console = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True)

        options = " ".join(f"--threshold {text}" for text in threshold or ())

        def pieces() -> Iterator[np.ndarray]:
            yield from np.array_split(sound, round(len(sound) / audio.SAMPLE_RATE / PIECE_SECONDS))
            console.print(f"$ speechrnn listen {NAME} --realtime {options}".rstrip() + "\n", highlight=False)
            console.print(view.picture(listener))  # before the sound ends and silence follows

        listener = Listener(spotter, Feed(NAME, pieces()), None, view)
        listener.run()
        drawn = console.export_svg(title="speechrnn listen")
        without_fonts = re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # from a server elsewhere
        write(picture, without_fonts.encode())
        say(f"{picture}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
