"""python -m export.to_onnx CHECKPOINT MODEL.onnx: what `speechrnn export CHECKPOINT -o MODEL.onnx` does."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.card import THRESHOLD
from speechrnn.cli.export import ThresholdOption, export


def main(
    checkpoint_path: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="best.pt of a run folder")],
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="the ONNX file to write")],
    threshold: ThresholdOption = THRESHOLD,
) -> None:
    """Turn a checkpoint into one ONNX file, checked against torch before it is written.

    Example: python -m export.to_onnx runs/gru-12/best.pt model.onnx
    """
    export(checkpoint_path, model_path, threshold)


if __name__ == "__main__":
    typer.run(main)
