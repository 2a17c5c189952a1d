"""What went wrong, in one line that a user can act on. Raised where the fact is known, printed by the CLI."""

from speechrnn.text import printable


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


def first_line(error: Exception) -> str:
    """What a library's error says, or its name: 200 characters or so, for a line of ours."""
    return printable((str(error).splitlines() or [type(error).__name__])[0][:200])
