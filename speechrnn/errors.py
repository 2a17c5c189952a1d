"""What went wrong, in one line that a user can act on. Raised where the fact is known, printed by the CLI."""


class InputError(ValueError):
    """Something given by the user can't be used. The message names it and says what to do."""


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
    """What a library's error says, or its name: 200 characters at most, for a line of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
