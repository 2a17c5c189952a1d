"""The sources of `speechrnn listen`: a microphone, a file, or sound or PCM on stdin."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechrnn.channels import Channel
from speechrnn.cli.outputs import RATE
from speechrnn.errors import InputError
from speechrnn.programs import say

if TYPE_CHECKING:
    from speechrnn.microphone import Microphone

PIECE_SECONDS = 0.1  # of a file that is played in real time


@dataclass(frozen=True)
class Feed:
    """Where sound comes from: its name, its pieces float32 16 kHz [samples], and the microphone if it is one."""

    name: str
    pieces: Iterable[np.ndarray]
    microphone: "Microphone | None" = None


class Headerless(NamedTuple):
    """The options about raw PCM on stdin; None where one isn't given."""

    rate: int | None = None  # Hz
    encoding: str | None = None
    channels: int | None = None

    def check(self, source: str | None) -> None:
        """Refuse options that contradict each other or belong to another source; raises InputError."""
        from speechrnn.pcm import ENCODINGS

        for option, value in zip(("--rate", "--pcm", "--channels"), self, strict=True):
            if value and source != "-":
                raise InputError(f"{option} {value}: is for PCM on stdin: speechrnn listen - {option} {value}")
        if self.encoding and self.encoding not in ENCODINGS:
            raise InputError(f"--pcm {self.encoding}: there is no such kind: give one of {', '.join(ENCODINGS)}")


@contextlib.contextmanager
def open_feed(
    source: str | None, device: str | None, raw: Headerless, channel: Channel, realtime: bool
) -> Iterator[Feed]:
    """The feed that the options ask for.

    Parameters
    ----------
    source : path of a sound file, - for stdin, or None for a microphone
    device : part of the name or number of the microphone, or None for the default
    raw : layout of raw PCM on stdin
    channel : int from 1, "mean" or "loudest"
    realtime : bool
        whether a file comes at the pace of a microphone
    """
    if source == "-":
        from speechrnn import pipes
        from speechrnn.cli.stdin import stdin

        yield Feed("stdin", pipes.blocks(stdin(), *raw, channel=channel, note=say))
    elif source:
        from speechrnn import audio

        pieces = _paced(source, channel) if realtime else audio.blocks(source, seconds=1.0, channel=channel)
        yield Feed(audio.source_name(source), pieces)
    else:
        from speechrnn.microphone import Microphone

        with Microphone(device, channel) as microphone:
            yield Feed(microphone.device.name, microphone, microphone)


def _paced(source: str, channel: Channel) -> Iterator[np.ndarray]:
    """A sound file as fast as a microphone would give it."""
    from speechrnn import audio

    start, given = time.monotonic(), 0
    for piece in audio.blocks(source, seconds=PIECE_SECONDS, channel=channel):
        given += len(piece)
        time.sleep(max(0.0, start + given / RATE - time.monotonic()))
        yield piece
