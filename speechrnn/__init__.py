"""Spoken-command recogniser: `speechrnn.load().classify("clip.wav")`, `speechrnn.Spotter(speechrnn.load())`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechrnn.model import Model
    from speechrnn.spotter import Spotter

__all__ = ["Spotter", "load"]

__version__ = "0.1.0"


def load(path: "str | None" = None) -> "Model":
    """Load a model: the shipped one, another of the package by its name ("gru-12-small"), or the ONNX file at `path`.

    Raises
    ------
    speechrnn.errors.ModelError
        if the file is missing, broken, or carries no speechrnn model card
    """
    from speechrnn.model import Model

    return Model(path)


def __getattr__(name: str) -> Any:
    """`speechrnn.Spotter`, imported when it is asked for: `import speechrnn` alone stays cheap."""
    if name == "Spotter":
        from speechrnn.spotter import Spotter

        return Spotter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
