"""`speechrnn info`: the model card."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.programs import report_errors
from speechrnn.terminal import plain_console
from speechrnn.text import printable


def info(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="An ONNX file; the shipped one if left out")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The card as JSON")] = False,
) -> None:
    """Print the model card: labels, sound, settings, training data, measured figures.

    Example: speechrnn info model.onnx --json
    """
    with report_errors():
        from speechrnn.model import Model

        loaded = Model(model)
        if as_json:
            sys.stdout.write(json.dumps(asdict(loaded.card), indent=2) + "\n")
            return
        from rich.table import Table
        from rich.text import Text

        console, table = plain_console(), Table(show_header=False)
        size = f"{len(loaded.content) / 1e6:.2f} MB"
        console.print(Text(f"{printable(loaded.name)} ({size})"), soft_wrap=True)
        for key, value in asdict(loaded.card).items():
            table.add_row(key.replace("_", " "), Text(_text(value)))
        console.print(table)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(printable(f"{key}: {item}") for key, item in value.items())
    if isinstance(value, tuple):
        return ("\n" if any(" " in item for item in value) else " ").join(map(printable, value))
    return printable(str(value))
