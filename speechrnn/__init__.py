"""Spoken-command recogniser: `speechrnn.load().classify("clip.wav")`, `speechrnn.Spotter(speechrnn.load())`."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechrnn.decision import Classification, Detection
    from speechrnn.model import Model
    from speechrnn.spotter import Spotter

__all__ = ["Classification", "Detection", "Model", "Spotter", "load"]

__version__ = "0.1.0"

# From 1.29 on, onnxruntime reports to its maker unless this is set before it is imported; to turn that off afterwards
# comes too late. Processes that this one starts inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def load(source: "str | os.PathLike[str] | bytes | None" = None) -> "Model":
    """Load a model: the shipped one, another of the package by its name ("gru-12-small"), or an ONNX file.

    Parameters
    ----------
    source : path of the file, bytes of it, or name of a shipped model; None for gru-12

    Raises
    ------
    speechrnn.errors.ModelError
        if the file is missing, broken, or carries no speechrnn model card
    """
    from speechrnn.model import Model

    return Model(source)


def __getattr__(name: str) -> Any:
    """The classes of `__all__`, imported when they are asked for: `import speechrnn` alone stays cheap."""
    homes = {"Classification": "decision", "Detection": "decision", "Model": "model", "Spotter": "spotter"}
    if name in homes:
        from importlib import import_module

        return getattr(import_module(f"speechrnn.{homes[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
