"""Options of the verbs that measure on the recordings of a data folder."""

from pathlib import Path
from typing import Annotated

import typer

DATA = Path("../data")
DataOption = Annotated[Path, typer.Option("--data", help="Folder that the others are in where they aren't named")]
CommandsOption = Annotated[
    Path | None, typer.Option(help="Speech Commands [default: speech_commands in --data]", show_default=False)
]
SpeechOption = Annotated[
    Path | None, typer.Option(help="Running speech [default: speech in --data]", show_default=False)
]
NoiseOption = Annotated[Path | None, typer.Option(help="Noise [default: noise in --data]", show_default=False)]

# Of `speechrnn validate`, below the data folder:
UNSEEN_WORDS = ("words/spoken_digits",)  # no configuration in configs/ trains on any of these
HELD_OUT_WORDS = ("words/klettres", "words/ktuberling", "words/tuxpaint")  # where they are; see docs/training.md
UNSEEN_NOISE = ("noise/music_pyaudio",)
