"""`speechrnn export`: the ONNX file of a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.card import THRESHOLD
from speechrnn.files import check_writable
from speechrnn.programs import report_errors

ThresholdOption = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Posterior from which a word is detected in a stream")
]


def export(
    checkpoint_path: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="best.pt of a run folder")],
    model_path: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="The ONNX file to write")],
    threshold: ThresholdOption = THRESHOLD,
) -> None:
    """Turn a checkpoint into one ONNX file, checked against torch before it is written.

    Example: speechrnn export runs/gru-12/best.pt -o model.onnx
    """
    with report_errors():
        check_writable(model_path, "MODEL", checkpoint_path)
        import torch  # noqa: F401  # before onnx: where both are missing, the extra of torch brings both

        from speechrnn.export import to_onnx

        error = to_onnx.export(checkpoint_path, model_path, threshold)
        size = model_path.stat().st_size
        typer.echo(f"{model_path}: {size / 1e6:.2f} MB, probabilities within {error:.1e} of torch")
