"""Sound that comes through a pipe, recognised by its first bytes and decoded while it still comes."""

import contextlib
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from speechrnn import audio, pcm
from speechrnn.byte_stream import PIECE_BYTES, Pipe
from speechrnn.channels import Channel
from speechrnn.errors import AudioError
from speechrnn.pcm import Layout
from speechrnn.signatures import ENOUGH, Kind, recognised, tag_length

STDIN = "<stdin>"  # what messages call it
PIECE_SECONDS = 0.1  # of compressed sound decoded at a time
# What libsndfile decodes from a pipe; of others it can look for the rest of a header for ever.
AS_IT_COMES = {"FLAC", "Ogg", "MP3", "AU"}
KNOWN_FRAMES = 1 << 28  # a header that claims more may only mean that its writer couldn't know
FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")

Note = Callable[[str], None]


@dataclass(frozen=True)
class Segment:
    """A sound of one rate: pieces [frames, channels]. Several can come through a pipe, one after the other."""

    rate: int  # Hz
    channels: int
    encoding: str  # of the samples, or what the file is called
    pieces: Iterator[np.ndarray]


def blocks(
    file: Any,
    rate: int | None = None,
    encoding: str | None = None,
    channels: int | None = None,
    channel: Channel = "mean",
    note: Note = lambda line: None,
) -> Iterator[np.ndarray]:
    """Sound as it comes: a file of any format if the first bytes say so, raw PCM otherwise.

    Parameters
    ----------
    file : binary file
        read to its end, never sought in
    rate, encoding, channels : int, name as in `speechrnn.pcm`, int
        of raw PCM: 16 kHz, s16le, 1 if None. Where there is a header, it counts; `note` is called with what isn't used.
    channel : int from 1, "mean" or "loudest"
        which channel is taken
    note : function of a line for the person

    Yields
    ------
    np.ndarray [shape=(samples,), dtype=float32]
        mono at 16 kHz; empty where a resampler keeps what came

    Raises
    ------
    speechrnn.errors.AudioError
        if it is empty, something else than sound, damaged or cut off, or holds NaN
    """
    layout = Layout(rate or 16_000, encoding or "s16le", channels or 1)
    stated = {"--rate": rate, "--pcm": encoding, "--channels": channels}
    pipe = Pipe(file)
    head = pipe.peek(ENOUGH)
    tagged = tag_length(head)
    if tagged:
        pipe.read(tagged)
        head = pipe.peek(ENOUGH)
    if not head:
        raise AudioError(f"{STDIN}: is empty (0 bytes): send it a sound file, or raw PCM (16 bit, mono)")
    kind = recognised(head, maybe_text=layout.encoding not in ("u8", "alaw", "mulaw"))
    if tagged and kind is None:
        kind = Kind("MP3", True)  # by far the most that has such a tag
    if kind is None:
        segments: Iterator[Segment | io.BytesIO] = iter([_raw(pipe, layout)])
    else:
        refuse_other(kind)
        segments = _segments(pipe, kind, note)
    for segment in segments:
        if kind:
            _note_unused(segment, kind.name, stated, note)
            stated = {}  # once is enough
        if isinstance(segment, io.BytesIO):
            yield from audio.blocks(segment, seconds=1.0, channel=channel)
            continue
        if not pcm.RATES[0] <= segment.rate <= pcm.RATES[1]:
            raise AudioError(f"{STDIN}: has a damaged header ({segment.rate} Hz): get a whole copy")
        convert = audio.Converter(segment.rate, segment.channels, channel, STDIN)
        for frames in segment.pieces:
            yield convert(frames, False)
        yield convert(np.zeros((0, segment.channels), np.float32), True)


def refuse_other(kind: Kind | None) -> None:
    """What is known to be no sound is an `AudioError`."""
    if kind and not kind.is_sound:
        raise AudioError(f"{STDIN}: is {kind.name}, not sound: send it a sound file, or raw PCM")


def _note_unused(segment: "Segment | io.BytesIO", name: str, stated: dict[str, Any], note: Note) -> None:
    true, header = {}, name
    if isinstance(segment, Segment):
        true = {"--rate": segment.rate, "--pcm": segment.encoding, "--channels": segment.channels}
        channels = f"{segment.channels} channel{'s' * (segment.channels > 1)}"
        header = f"{segment.encoding}, {segment.rate} Hz, {channels}"
    unused = [f"{option} {value}" for option, value in stated.items() if value not in (None, true.get(option))]
    if unused:
        note(f"{STDIN}: its header counts ({header}): {' and '.join(unused)} not used")


def _segments(pipe: Pipe, kind: Kind, note: Note) -> "Iterator[Segment | io.BytesIO]":
    """The sounds that follow each other, in a pipe that begins with such a file."""
    while head := pipe.peek(12):
        if tagged := tag_length(head):
            pipe.read(tagged)
            continue
        if kind.name == "WAV":
            if recognised(head) != kind:  # other chunks behind the samples
                _skip_chunk(pipe)
                continue
            yield _wav(pipe, note)
        elif kind.name == "FLAC":
            yield _flac(pipe, note)
        else:
            streams = {"Ogg": pipe.ogg_stream, "MP3": pipe.mpeg_stream}
            yield _compressed(pipe, streams.get(kind.name, pipe.rest)(), kind.name, note)


def _skip_chunk(pipe: Pipe) -> None:
    left = int.from_bytes(pipe.read(8)[4:], "little")
    left += left % 2
    while left and (content := pipe.read_some(min(left, PIECE_BYTES))):
        left -= len(content)


def _raw(pipe: Pipe, layout: Layout, size: int | None = None, limit: int | None = None) -> Segment:
    return Segment(layout.rate, layout.channels, layout.encoding, _frames(pipe, layout, size, limit))


def _frames(pipe: Pipe, layout: Layout, size: int | None, limit: int | None) -> Iterator[np.ndarray]:
    """PCM up to `size` bytes, or the end; or `limit` bytes if another header follows them."""
    odd, taken = b"", 0
    while True:
        end = size if limit is None else limit
        content = pipe.read_some(PIECE_BYTES if end is None else min(PIECE_BYTES, end - taken))
        taken += len(content)
        if not content:
            if taken != limit or not (following := pipe.peek(12)) or recognised(following) == Kind("WAV", True):
                break
            limit = None  # no header follows: the sound goes on beyond what its own could say
            continue
        content = odd + content
        whole = len(content) // layout.frame_bytes * layout.frame_bytes
        odd = content[whole:]
        if whole:
            yield layout.decode(content)
    if size is not None:
        if taken + pcm.HEADER_SLACK < size:
            raise AudioError(f"{STDIN}: is cut off ({size - taken} bytes are missing): get a whole copy")
        pipe.read(size % 2)  # chunks start at even places


def _wav(pipe: Pipe, note: Note) -> "Segment | io.BytesIO":
    taken = io.BytesIO()

    def read(count: int) -> bytes:
        content = pipe.read(count)
        taken.write(content)
        return content

    header = pcm.read_wav_header(read, STDIN)
    if header.layout is None:
        pipe.put_back(taken.getvalue())
        return _compressed(pipe, pipe.rest(), "WAV", note)
    return _raw(pipe, header.layout, header.size, header.limit)


def _segment(
    decoder: Any,
    encoding: str,
    failed: Callable[[], BaseException | None],
    ended: Callable[[], None] = lambda: None,
    closed: Callable[[], None] = lambda: None,
) -> Segment:
    def pieces() -> Iterator[np.ndarray]:
        position = 0
        with contextlib.ExitStack() as stack:
            stack.callback(closed)
            stack.enter_context(decoder)
            while True:
                try:
                    read = decoder.read(round(PIECE_SECONDS * decoder.samplerate))
                except soundfile.LibsndfileError as error:
                    problem = failed()
                    if problem:
                        raise problem from None
                    second, reason = position / decoder.samplerate, audio.reason(error)
                    raise AudioError(
                        f"{STDIN}: is damaged or cut off after {second:.2f} s ({reason}): get a whole copy"
                    ) from None
                problem = failed()
                if problem:
                    raise problem
                if not len(read):
                    break
                position += len(read)
                yield read
        ended()
        if position < decoder.frames < KNOWN_FRAMES and encoding != "MP3":  # whose length may be an estimate
            there = f"{position / decoder.samplerate:.2f} s of {decoder.frames / decoder.samplerate:.2f} s are there"
            raise AudioError(f"{STDIN}: is cut off ({there}): get a whole copy")

    return Segment(decoder.samplerate, decoder.channels, encoding, pieces())


class _Flac:
    """A FLAC on a pipe, for libsndfile, which looks twice at its first bytes and goes forward from there."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._kept, self._start, self._position = chunks, b"", 0, 0
        self.opened = False
        self.problem: BaseException | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: 1 << 40}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        if self.opened:
            self._kept, self._start = self._kept[self._position - self._start :], self._position
        try:
            wanted = self._position + (1 if self.opened else count)  # its header is asked for in whole pieces
            while self._start + len(self._kept) < wanted < 1 << 39 and (more := next(self._chunks, b"")):
                self._kept += more
        except BaseException as problem:  # libsndfile can't hand it on, Ctrl-C included
            self.problem = problem
        content = self._kept[self._position - self._start :][:count]
        self._position += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def everything(self) -> bytes:
        """What came so far, and all that comes, while it isn't opened."""
        return self._kept + b"".join(self._chunks)


def _flac(pipe: Pipe, note: Note) -> "Segment | io.BytesIO":
    file = _Flac(pipe.until(FLAC_START, 8))
    decoder = _opened(file)
    if file.problem:
        raise file.problem
    if decoder is None:
        return _whole(file.everything(), "FLAC", note)
    file.opened = True
    return _segment(decoder, "FLAC", lambda: file.problem)


def _compressed(pipe: Pipe, chunks: Iterator[bytes], name: str, note: Note) -> "Segment | io.BytesIO":
    """What libsndfile reads from a pipe of its own, or all of it where it doesn't."""
    if name not in AS_IT_COMES or os.name == "nt":  # there libsndfile can't be handed a pipe
        return _whole(b"".join(chunks), name, note)
    pump = _Pump(chunks)
    decoder = _opened(pump.reader)
    if decoder is None:
        return _whole(pump.everything(), name, note)
    pump.kept = None
    return _segment(decoder, name, lambda: pump.problem, pump.drain, pump.let_go)


class _Pump:
    """A thread that moves bytes into a pipe of the operating system, and keeps them until `kept` is None."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.reader, self._writer = os.pipe()
        self.kept: list[bytes] | None = []
        self.problem: BaseException | None = None
        self._chunks = chunks
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with open(self._writer, "wb", buffering=0) as writer:
                for content in self._chunks:
                    if (kept := self.kept) is not None:
                        kept.append(content)
                    left = memoryview(content)
                    while left:
                        left = left[writer.write(left) :]
        except BrokenPipeError:  # nobody decodes it any more
            pass
        except OSError as problem:
            self.problem = problem

    def let_go(self) -> None:
        """Nobody reads any more, which the thread sees when it has something to write."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def close(self) -> None:
        """Nobody reads any more: wait until the thread has seen that."""
        self.let_go()
        self._thread.join()

    def drain(self) -> None:
        """Take what is left behind the sound."""
        self.close()
        for _ in self._chunks:
            pass

    def everything(self) -> bytes:
        """What came so far, and all that comes."""
        self.close()
        return b"".join([*(self.kept or ()), *self._chunks])


def _opened(source: Any) -> Any:
    from speechrnn.microphone import quiet_library

    try:
        with quiet_library():  # libmpg123 wonders about files whose length it doesn't see
            return audio.Decoder(source, closefd=False)
    except (soundfile.LibsndfileError, TypeError):
        return None


def _whole(content: bytes, name: str, note: Note) -> io.BytesIO:
    """A sound that has to be there before any of it is decoded."""
    note(f"{STDIN}: {name} can't be decoded as it comes: it was read to its end first")
    file = io.BytesIO(content)
    file.name = STDIN
    return file
