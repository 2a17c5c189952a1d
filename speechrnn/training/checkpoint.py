"""Checkpoints: tensors and plain values only, read with `weights_only`, so that nothing in a file can run code."""

import io
from pathlib import Path
from typing import Any

import torch

from speechrnn.errors import ConfigError, ModelError
from speechrnn.files import write
from speechrnn.training import config as settings
from speechrnn.training.network import Recognizer


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint: a run that is killed at any moment leaves the old file or the new one.

    Raises
    ------
    InputError
        if it can't be written, as on a full disk
    """
    packed = io.BytesIO()  # on a full disk torch itself would say something else
    torch.save(content, packed)
    write(path, packed.getbuffer(), sync=True)


def read(path: str | Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU.

    Raises
    ------
    ModelError
        if the file can't be read, or isn't a checkpoint of ours
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror or error}): give a checkpoint of a run") from None
    except Exception:  # the unpickler meets damaged bytes with errors of every kind
        raise ModelError(f"{path}: is not a checkpoint, or is damaged") from None
    if not isinstance(content, dict) or not {"weights", "config", "labels"} <= set(content):
        raise ModelError(f"{path}: is not a checkpoint of speechrnn (no weights, config and labels in it)")
    return content


def recognizer(path: str | Path) -> tuple[Recognizer, dict[str, Any]]:
    """The trained recognizer of a checkpoint, ready for evaluation, and the checkpoint."""
    content = read(path)
    try:
        model = Recognizer(settings.from_dict(content["config"]), content["labels"])
        model.load_state_dict(content["weights"])
    except (ConfigError, RuntimeError, TypeError, AttributeError):
        raise ModelError(f"{path}: its weights don't fit its own settings") from None
    return model.eval(), content
