"""Write an ONNX file of ours as a C program without dependencies.

Where there is a C compiler, the program is compiled and held against the ONNX file before it is written; with int8
weights, against the file that `speechrnn.export.quantize` makes of it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from speechrnn import files
from speechrnn.errors import InputError, ModelError
from speechrnn.evaluation import corpus
from speechrnn.export import c_compiled, c_weights, quantize
from speechrnn.export.c_source import Program
from speechrnn.export.precision import Precision
from speechrnn.model import Model

TOLERANCE = 1e-3  # of probabilities, against the ONNX file with the same weights
LEAST_AGREEMENT = 0.998  # of labels on real clips
FILES = ("speechrnn.h", "speechrnn.c", "main.c")


def check_folder(folder: Path, overwrite: bool, model: Path | None) -> None:
    """Refuse, before the work, a folder that can't be made or holds files that may not be replaced."""
    if os.path.exists(folder) and not os.path.isdir(folder):  # which, unlike pathlib, take a name that is too long
        raise InputError(f"OUT {folder}: is a file: name a folder")
    if not folder.parent.is_dir():
        raise InputError(f"OUT {folder}: there is no folder {folder.parent}: make it first")
    if os.path.isdir(folder):
        files.check_free([folder / name for name in FILES], "OUT", overwrite, model)


def with_weights(model: Model, precision: Precision) -> Model:
    """The model whose numbers the C program holds: this one, or this one with int8 weights.

    Raises
    ------
    ModelError
        if the model isn't one that the C program can compute, or can't be given int8 weights
    """
    if precision is Precision.float32 or c_weights.read(model).is_int8:
        return model
    return Model(quantize.smaller(model, quantize.Weights.int8).SerializeToString(), name=model.name)


def compare(compiled: c_compiled.Compiled, model: Model, name: str, clips: Path | None) -> Iterator[str]:
    """Compare the C program with the ONNX file, called `name`; yields lines of text with the differences.

    Raises
    ------
    InputError
        if that is too little, or there are no clips
    """
    difference = c_compiled.largest_difference(compiled, model)
    yield f"probabilities within {difference:.1e} of {name}, on made-up sound"
    if not difference <= TOLERANCE:
        raise ModelError(f"{name}: the C program differs from it by {difference:.1e}: nothing is written")
    if clips is not None:
        found = corpus.evaluation_clips(clips, model.labels, "validation")
        share, difference = c_compiled.agreement(compiled, model, found)
        count = min(c_compiled.CLIPS, len(found))
        yield f"on {count} clips: {share:.2%} of labels equal, probabilities within {difference:.1e}"
        if share < LEAST_AGREEMENT:
            raise ModelError(f"{name}: the C program gives equal labels to {share:.2%} only: nothing is written")


def put(made: Program, folder: Path, overwrite: bool = False) -> None:
    """Write all files, or none: only when each of them is whole, they take their places.

    Raises
    ------
    InputError
        if the folder can't be written, or holds one of the files and `overwrite` is False
    """
    new = not os.path.exists(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"OUT {folder}: can't be written ({error.strerror}): name another place") from None
    try:
        with contextlib.ExitStack() as stack:
            for name, text in made.files.items():
                file = stack.enter_context(files.replacing(folder / name, overwrite=overwrite))
                file.write(text.encode())
                file.flush()  # the last of them has met the full disk before the first one takes its place
    except InputError:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
