"""`speechrnn plot`: a picture of a clip and its posteriors."""

import os
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.channels import parse
from speechrnn.cli.options import ChannelOption
from speechrnn.errors import InputError
from speechrnn.files import check_writable
from speechrnn.programs import ModelOption, report_errors


def plot(
    clip: Annotated[Path, typer.Argument(help="A sound file of up to a minute")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture to write; CLIP.png, if there is none, if left out")
    ] = None,
    channel: ChannelOption = "mean",
    model: ModelOption = None,
) -> None:
    """Draw the spectrogram of a clip and the posterior of every label under it, on one time axis.

    Example: speechrnn plot examples/yes.wav -o yes.png
    """
    with report_errors():
        taken = parse(channel)
        target = output or Path(f"{clip.stem}.png")
        if output is None and os.path.lexists(target):
            raise InputError(f"{target}: is there already: to replace it, name it with --output")
        check_writable(target, "--output", clip, model)
        from speechrnn import audio, pictures
        from speechrnn.model import Model

        pictures.kind(target)
        recogniser = Model(model)
        samples = recogniser.load_clip(clip, taken)
        posteriors = recogniser.posteriors(samples)
        label = recogniser.decide(posteriors)
        title = f"{audio.source_name(clip.name)}: {label.label} ({label.probability:.2f})"
        pictures.clip(samples, posteriors, recogniser.card, title, target)
        typer.echo(f"{target}: {label.label} {label.probability:.3f}")
