"""Exceptions whose message is one line that a user can act on. The command line prints it."""

import errno
import os
from pathlib import Path

from speechrnn.text import printable

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InputError(ValueError):
    """Something given by the user can't be used. The message names it and says what to do, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # a file may be called anything


class AudioError(InputError):
    """Sound that can't be read, or that can't be given a label."""


class ModelError(InputError):
    """An ONNX file or a checkpoint that isn't ours, or is broken."""


class ConfigError(InputError):
    """A setting that doesn't exist or doesn't make sense."""


class MicrophoneError(InputError):
    """No microphone, none of that name, or one that can't be opened."""


class SoundWarning(UserWarning):
    """Sound that can be used, though something about it is wrong. The message names it and says what to do."""


def first_line(error: Exception) -> str:
    """The message of a library's error, or its name: 200 characters or so, for a line of ours."""
    return printable((str(error).splitlines() or [type(error).__name__])[0][:200])


def refused_by_system(error: OSError, path: Path | None = None) -> str:
    """The line for an error of the operating system: a name too long, a folder that has vanished, a full disk.

    `path` is what is named where the error doesn't say which file it is about.
    """
    named = error.filename if isinstance(error.filename, str | bytes) else path
    reason = error.strerror or first_line(error)
    remedy = "make room there" if error.errno in OUT_OF_SPACE else "check that it is there, or name another place"
    return f"{os.fsdecode(named) if named is not None else 'a file'}: can't be used ({reason}): {remedy}"
