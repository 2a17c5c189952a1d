"""Checkpoints: tensors and plain values only, read with `weights_only`, so that nothing in a file can run code."""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

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
    """Read what `save` wrote, on the CPU.

    Raises
    ------
    ModelError
        if the file can't be read, or isn't a checkpoint of ours
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise ModelError(f"{path}: can't be read (it is not a file): give a checkpoint of a run")
        with open(path, "rb") as file:  # by us: torch can't open names that aren't UTF-8
            _refuse_packed(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: can't be read ({error.strerror or error}): give a checkpoint of a run") from None
    except Exception:  # the unpickler meets damaged bytes with errors of every kind
        raise ModelError(f"{str(path)!r:.300}: is not a checkpoint, or is damaged") from None
    kinds = {"weights": dict, "config": dict, "labels": list}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        raise ModelError(f"{path}: is not a checkpoint of speechrnn (no weights, config and labels in it)")
    return content


def _refuse_packed(file: BinaryIO) -> None:
    """torch stores tensors as they are; what is packed may be a thousand times as large when it is read."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("is packed")
    file.seek(0)


@contextmanager
def checked(path: str | Path) -> Iterator[None]:
    """Context in which the content of a checkpoint is used: errors of shape or type mean that it is damaged.

    Raises
    ------
    ModelError
        naming the file
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        raise ModelError(f"{path}: what it holds doesn't fit its own settings: take another checkpoint") from None


def settings_of(content: dict[str, Any], path: str | Path) -> settings.Config:
    """The settings that a checkpoint was trained with; raises ModelError naming the file if they are none."""
    try:
        return settings.from_dict(content["config"])
    except ConfigError as error:
        raise ModelError(f"{path}: holds settings that are no good: {error}") from None


def recognizer(path: str | Path) -> tuple[Recognizer, dict[str, Any]]:
    """The trained recognizer of a checkpoint, ready for evaluation, and the checkpoint."""
    content = read(path)
    config = settings_of(content, path)
    with checked(path):
        model = Recognizer(config, content["labels"])
        model.load_state_dict(content["weights"])
    return model.eval(), content
