"""python -m data_scripts.synthesize DEST WORD...: words spoken by espeak-ng, one 16 kHz WAV of about a second each."""

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from speechrnn import audio
from speechrnn.cli import report_errors
from speechrnn.errors import InputError

CLIP_SECONDS = 1.0
PEAK = 0.5


def speak(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """The word as float32 [samples] at 16 kHz: at least a second, the word in its middle.

    Raises
    ------
    InputError
        if espeak-ng is missing or knows no such voice
    """
    if not shutil.which("espeak-ng"):
        raise InputError("espeak-ng is not installed: on Debian and Ubuntu, apt-get install espeak-ng")
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", "--", word]
    spoken = subprocess.run(command, capture_output=True, check=False)
    if spoken.returncode or not spoken.stdout:
        reason = spoken.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"espeak-ng can't say {word!r} with voice {voice}: {reason[0] if reason else 'no sound'}")
    sound = audio.load(spoken.stdout)
    heard = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    sound = sound[heard[0] : heard[-1] + 1] * (PEAK / np.abs(sound).max())
    missing = max(0, int(CLIP_SECONDS * audio.SAMPLE_RATE) - len(sound))
    return np.pad(sound, (missing // 2, missing - missing // 2))


def main(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the clips; made if it isn't there")],
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="Words to be spoken")],
    voice: Annotated[str, typer.Option(help="A voice of espeak-ng, as en-us, en-gb or en-us+f3")] = "en-us",
    speed: Annotated[int, typer.Option(min=80, max=450, help="Words a minute")] = 150,
    pitch: Annotated[int, typer.Option(min=0, max=99, help="0 is low, 99 is high")] = 50,
) -> None:
    """Have words spoken by espeak-ng, a clip each.

    Example: python -m data_scripts.synthesize examples yes no stop --voice en-us+f3
    """
    with report_errors():
        for word in words:
            sound = speak(word, voice, speed, pitch)
            dest.mkdir(parents=True, exist_ok=True)
            target = dest / f"{word}.wav"
            beside = dest / f"{word}.part"
            soundfile.write(beside, sound, audio.SAMPLE_RATE, format="WAV", subtype="PCM_16")
            beside.replace(target)
            typer.echo(f"{target}: {len(sound) / audio.SAMPLE_RATE:.2f} s")


if __name__ == "__main__":
    typer.run(main)
