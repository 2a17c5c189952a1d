"""`speechrnn train`: a config in, a trained network in a run folder out."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.cli import report_errors


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="Settings; configs/gru-12.toml is the shipped model's")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as train.epochs=3; may be repeated"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch")] = False,
    run_folder: Annotated[
        Path | None, typer.Option("--run-folder", help="Where results go; runs/NAME if left out", show_default=False)
    ] = None,
) -> None:
    """Train a network: checkpoints, metrics and pictures go into a run folder.

    Example: speechrnn train configs/gru-12.toml --set train.epochs=3
    """
    with report_errors():
        from speechrnn.training import config as settings

        chosen = settings.load(config, set_ or [])
        from rich.console import Console

        from speechrnn.training.train import Run

        folder = run_folder or Path("runs") / chosen.name
        run = Run(chosen, folder, resume, Console())
        run.fit()
        typer.echo(f"export it: python -m export.to_onnx {run.best} {chosen.name}.onnx")
