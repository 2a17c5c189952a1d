"""`speechrnn train`: a network trained by a config."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import InputError
from speechrnn.files import check_folder
from speechrnn.programs import report_errors


@contextmanager
def _reported_once() -> Iterator[None]:
    """Of errors that all the processes of torchrun raise, only the first process prints its own."""
    try:
        yield
    except InputError:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(10.0)  # torchrun ends it when the first one has left; the other way round, that one were silent
            raise typer.Exit(2) from None
        raise


@contextmanager
def _left_at_once() -> Iterator[None]:
    """Where something is wrong in a run of several processes, this one ends as `processes.leave` does."""
    try:
        yield
    except typer.Exit as leaving:
        distributed = sys.modules.get("torch.distributed")  # what is wrong may be found before torch is imported
        if distributed and distributed.is_available() and distributed.is_initialized():
            from speechrnn.training.processes import leave

            leave(leaving.exit_code)
        raise


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="Settings; configs/gru-12.toml is the recipe's first stage")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as train.epochs=3; may be repeated"),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", metavar="N", help="Processes, each on a GPU of its own or on a part of the cores"),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", metavar="auto|ddp", help="How several processes learn together")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch")] = False,
    run_folder: Annotated[
        Path | None, typer.Option("--run-folder", help="Where results go; runs/NAME if left out", show_default=False)
    ] = None,
) -> None:
    """Train a network: checkpoints, metrics and pictures go into a run folder.

    Example: speechrnn train configs/gru-12.toml --set train.epochs=3

    On four GPUs, in 16 bits where that is exact enough; every process takes a part of each batch:
    speechrnn train configs/gru-12.toml --devices 4 --strategy ddp --set train.precision=bf16-mixed
    """
    with _left_at_once(), report_errors(), _reported_once():
        from speechrnn.training import config as settings

        options = {"devices": devices, "strategy": strategy}
        changes = [f"train.{name}={value}" for name, value in options.items() if value is not None]
        chosen = settings.load(config, [*(set_ or []), *changes])
        folder = run_folder or Path("runs") / chosen.name
        check_folder(folder, "--run-folder")
        from speechrnn.terminal import plain_console
        from speechrnn.training.train import Run

        run = Run(chosen, folder, resume, plain_console())
        run.fit()
        if run.first:
            typer.echo(f"export it: speechrnn export {run.best} -o {chosen.name}.onnx")
