"""`speechrnn quantize`: a smaller ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.export.options import ClipsOption, PartitionOption
from speechrnn.export.precision import Weights
from speechrnn.files import check_writable, write
from speechrnn.programs import report_errors


def quantize(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="a float32 ONNX file of ours")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the ONNX file to write")],
    weights: Annotated[Weights, typer.Option(help="How the weights are stored")] = Weights.int8,
    clips: ClipsOption = None,
    partition: PartitionOption = None,
) -> None:
    """Store the weights of a model smaller; nothing is written if its labels then differ.

    Example: speechrnn quantize model.onnx small.onnx --clips ../data/speech_commands --partition validation
    """
    with report_errors():
        from speechrnn.export.quantize import exports
        from speechrnn.model import Model

        model = Model(model_path)
        check_writable(out, "OUT", model.path, clips)
        [made] = exports(model, [weights], clips, partition.value if partition else None)
        write(out, made.content)
        size, ratio = len(made.content) / 1e6, len(made.content) / len(model.content)
        typer.echo(f"{out}: {size:.2f} MB, {ratio:.3f} of {Path(model.name).name}; {made.comparison}")
