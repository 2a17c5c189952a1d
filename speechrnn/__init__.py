"""Spoken-command recogniser: `speechrnn.load().classify("clip.wav")`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechrnn.model import Model

__version__ = "0.1.0"


def load(path: "str | None" = None) -> "Model":
    """Load a model: the shipped one, or the ONNX file at `path`.

    Raises
    ------
    speechrnn.errors.ModelError
        if the file is missing, broken, or carries no speechrnn model card
    """
    from speechrnn.model import Model

    return Model(path)
