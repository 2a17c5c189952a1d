"""Standard input, as the verbs take sound from it."""

import io
import sys
from typing import Any, BinaryIO, cast

from speechrnn.errors import AudioError
from speechrnn.pipes import STDIN, refuse_other
from speechrnn.signatures import ENOUGH, recognised


def stdin() -> Any:
    """Standard input as a binary file.

    Raises
    ------
    speechrnn.errors.AudioError
        if nothing is connected to it but a keyboard
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError(f"{STDIN}: nothing is piped in: arecord | speechrnn listen -")
    return sys.stdin.buffer


class _StdinFile(io.RawIOBase):
    """What `stdin_file` gives; read when it is its turn, so that one message concerns it alone."""

    name = STDIN

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = stdin().read()
        kind = recognised(content[:ENOUGH])
        if content and not (kind and kind.is_sound):
            refuse_other(kind)
            import soundfile

            try:  # libsndfile finds more, such as an MP3 behind other bytes
                soundfile.SoundFile(io.BytesIO(content)).close()
            except (soundfile.LibsndfileError, TypeError):
                raise AudioError(
                    f"{STDIN}: is no sound file: if it is raw PCM, put a header in front of it, for instance with "
                    "ffmpeg -f s16le -ar 16000 -ac 1 -i - -f wav -, or use speechrnn listen -"
                ) from None
        return content


def stdin_file() -> BinaryIO:
    """The whole sound file on standard input; reading it raises an `AudioError` where it is none."""
    return cast(BinaryIO, _StdinFile())
