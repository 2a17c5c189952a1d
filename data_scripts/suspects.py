"""python -m data_scripts.suspects FOLDER OUT.txt: clips that a model hears as something else than their folder says.

Crowd-sourced clips are sometimes mislabelled, cut off or empty. A model that has learnt from all of them (or, better,
from others) finds these: the posterior of their own label is close to nothing. Training leaves out the clips of such a
list (`data.exclude`); validation never does.
"""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from speechrnn.cli import check_writable, report_errors
from speechrnn.cli.evaluate import Partition
from speechrnn.errors import AudioError, InputError
from speechrnn.model import Model
from speechrnn.training import corpus


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder for each word, with sound files in it")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Text file to write, a path in FOLDER a line")],
    model_path: Annotated[
        Path | None, typer.Option("--model", "-m", help="ONNX file; the shipped one if left out", show_default=False)
    ] = None,
    partition: Annotated[Partition, typer.Option(help="Clips of these speakers")] = Partition.training,
    below: Annotated[float, typer.Option(min=0.0, max=1.0, help="Posterior of the own label")] = 0.05,
) -> None:
    """List clips whose own label a model finds hardly possible, to listen to or to leave out of training.

    Example: python -m data_scripts.suspects data/speech_commands suspects.txt
    """
    with report_errors():
        check_writable(output, "OUT")
        model = Model(model_path)
        clips = corpus.word_clips(folder, model.labels, partition.value)
        heard = model.classify_many([clip.path for clip in clips])
        console = Console(stderr=True)
        shown = track(heard, "listening", len(clips), console=console, transient=True, disable=not console.is_terminal)
        found = [
            clip.path.relative_to(folder).as_posix()
            for clip, result in zip(clips, shown, strict=True)
            if not isinstance(result, AudioError) and result.posterior[clip.label] < below
        ]
        beside = output.with_name(output.name + ".part")
        try:
            beside.write_text("".join(f"{path}\n" for path in found), encoding="utf-8")
            os.replace(beside, output)
        except OSError as error:
            raise InputError(f"OUT {output}: can't be written ({error.strerror}): name another place") from None
        typer.echo(f"{output}: {len(found)} of {len(clips)} clips")


if __name__ == "__main__":
    typer.run(main)
