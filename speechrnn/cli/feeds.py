"""Where the sound of `speechrnn listen` comes from: a microphone, a file, PCM on stdin."""

import contextlib
import io
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from speechrnn.cli.outputs import RATE
from speechrnn.errors import AudioError

if TYPE_CHECKING:
    from speechrnn.microphone import Microphone

PIECE_SECONDS = 0.1  # of a file that is played in real time


@dataclass(frozen=True)
class Feed:
    """Where sound comes from: its name, its pieces float32 16 kHz [samples], and the microphone if it is one."""

    name: str
    pieces: Iterable[np.ndarray]
    microphone: "Microphone | None" = None


@contextlib.contextmanager
def open_feed(source: str | None, device: str | None, rate: int, realtime: bool) -> Iterator[Feed]:
    if source == "-":
        yield Feed("stdin", _pcm(rate))
    elif source:
        from speechrnn import audio

        yield Feed(audio.source_name(source), _paced(source) if realtime else audio.blocks(source, seconds=1.0))
    else:
        from speechrnn.microphone import Microphone

        with Microphone(device) as microphone:
            yield Feed(microphone.device.name, microphone, microphone)


def _pcm(rate: int) -> Iterator[np.ndarray]:
    """Raw s16le mono on stdin, as it comes: a pipe gives what it has."""
    from speechrnn.audio import resampler

    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError("<stdin>: nothing is piped in: arecord -t raw -f S16_LE -r 16000 | speechrnn listen -")
    resample, odd, empty = resampler(rate), b"", True
    pipe = cast(io.BufferedReader, sys.stdin.buffer)
    while content := pipe.read1(rate):  # at most half a second
        content = odd + content
        odd = content[len(content) // 2 * 2 :]
        samples = np.frombuffer(content, "<i2", len(content) // 2).astype(np.float32) / 32_768
        empty = False
        yield resample(samples, False)
    if empty:
        raise AudioError("<stdin>: is empty (0 bytes): send it raw PCM, 16 bit, mono")
    yield resample(np.zeros(0, np.float32), True)


def _paced(source: str) -> Iterator[np.ndarray]:
    """A sound file as fast as a microphone would give it."""
    from speechrnn import audio

    start, given = time.monotonic(), 0
    for piece in audio.blocks(source, seconds=PIECE_SECONDS):
        given += len(piece)
        time.sleep(max(0.0, start + given / RATE - time.monotonic()))
        yield piece
