"""python -m data_scripts.teacher CONFIG MODELS OUT.pt: the first weights of a teacher.

They are those of Google's speech embedding, which has heard far more than we have (`data_scripts.hints` says where
MODELS come from). A run of configs/teacher.toml teaches it our words, and a run with `train.teachers` learns from it.
"""

from pathlib import Path
from typing import Annotated

import onnx
import torch
import typer
from onnx import numpy_helper

from data_scripts.hints import EMBEDDING, from_openwakeword
from speechrnn.cli import check_writable, report_errors
from speechrnn.errors import InputError
from speechrnn.training import checkpoint, corpus
from speechrnn.training import config as settings
from speechrnn.training.embedding import Embedding
from speechrnn.training.network import Recognizer


def fill(network: Embedding, path: Path) -> None:
    """Put the weights of embedding_model.onnx into the convolutions, which come in the same order."""
    with from_openwakeword(path):
        graph = onnx.load(path).graph
    values = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    given = [values[name] for node in graph.node if node.op_type == "Conv" for name in node.input[1:] if name in values]
    ours = list(network.convolutions.parameters())
    if [tuple(tensor.shape) for tensor in given] != [tuple(parameter.shape) for parameter in ours]:
        raise InputError(f"{path}: is not the speech embedding that openwakeword comes with")
    with torch.no_grad():
        for parameter, tensor in zip(ours, given, strict=True):
            parameter.copy_(tensor)


def main(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file of the teacher's run")],
    models: Annotated[Path, typer.Argument(metavar="MODELS", help=f"Folder with {EMBEDDING}")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Checkpoint to write, for train.start_from")],
) -> None:
    """Write the first weights of a teacher: Google's speech embedding, and a new head.

    Example: python -m data_scripts.teacher configs/teacher.toml openwakeword/resources/models ../data/teacher.pt
    """
    with report_errors():
        check_writable(output, "OUT")
        chosen = settings.load(config)
        torch.manual_seed(chosen.train.seed)
        recognizer = Recognizer(chosen, corpus.task_labels(chosen.data.task))
        if not isinstance(recognizer.network, Embedding):
            raise InputError(
                f"{config}: network.cell is {chosen.network.cell!r}, not embedding: give a teacher's config"
            )
        fill(recognizer.network, models / EMBEDDING)
        content = {
            "weights": recognizer.state_dict(),
            "config": chosen.to_dict(),
            "labels": list(recognizer.labels),
        }
        checkpoint.save(output, content)
        typer.echo(f"{output}: {sum(p.numel() for p in recognizer.parameters())} parameters")


if __name__ == "__main__":
    typer.run(main)
