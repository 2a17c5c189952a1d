"""Reading sound of any format, rate and number of channels as float32 mono at 16 kHz.

`load` gives a whole sound, `blocks` the same samples piece by piece, for recordings that don't fit into memory.
Sound that is broken, cut off or not sound at all is refused with an `AudioError` rather than shortened silently, as
far as its format lets one tell (raw-like ones such as VOC and SPHERE don't reach that far).
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import soundfile

from speechrnn import containers, media, pcm
from speechrnn.channels import Channel, Mixer
from speechrnn.errors import AudioError
from speechrnn.folders import SUFFIXES, Folder, search, sound_files
from speechrnn.text import printable

__all__ = ["SAMPLE_RATE", "SUFFIXES", "Converter", "Decoder", "Folder", "Native", "Source", "blocks", "from_pcm",
           "load", "native_blocks", "reason", "resampler", "search", "seconds_of", "sound_files",
           "source_name"]  # fmt: skip

SAMPLE_RATE = 16_000  # Hz
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; a header that claims 1 Hz makes 6 GB at 16 kHz out of 100 kB
BLOCK_VALUES = 1 << 24  # the most that is decoded at a time, over all channels: 64 MB
READ_AT_ONCE = 1 << 16  # bytes
GUESSED = ("MPEG_LAYER_I", "MPEG_LAYER_II")
UNKNOWN_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 where a header leaves the length open, as in a piped FLAC

Source = str | os.PathLike[str] | bytes | BinaryIO


def load(source: Source, *, max_seconds: float | None = None, channel: Channel = "mean") -> np.ndarray:
    """Read a whole sound.

    Parameters
    ----------
    source : path, bytes of a sound file, or binary file object
        anything libsndfile reads (WAV, FLAC, OGG, MP3, AIFF, ...), and what PyAV or ffmpeg read where one of them is
        installed (M4A, WebM, ...), at any rate, with any number of channels. Files that are joined are read one after
        the other. A file object that can seek is read from its beginning, another (a pipe) to its end.
    max_seconds : number > 0, or None
        longer sound is refused, from the header alone where the header tells
    channel : int from 1, "mean" or "loudest"
        which channel is taken; see `speechrnn.channels.Mixer`. A `SoundWarning` tells of channels whose mean is
        next to nothing because they are of opposite phase.

    Returns
    -------
    np.ndarray [shape=(samples,), dtype=float32]
        mono at 16 kHz, full scale 1.0. Float files may hold values beyond that; they are kept.

    Raises
    ------
    speechrnn.errors.AudioError
        if the source is missing, unreadable, not sound, empty, damaged, cut off, too long, or not finite
    """
    return np.concatenate(list(blocks(source, max_seconds=max_seconds, channel=channel)))


def from_pcm(
    data: bytes, rate: int = SAMPLE_RATE, width: int | str = 2, channels: int = 1, channel: Channel = "mean"
) -> np.ndarray:
    """Decode raw PCM of a whole sound, without a header, as `Model.classify` and `Spotter.process` take it.

    Of a sound that comes in pieces, give each of them here if its rate is 16 kHz; `speechrnn.pipes.blocks` reads a
    pipe at any rate.

    Parameters
    ----------
    data : bytes
        samples of all channels in turns, little-endian
    rate : int
        in Hz
    width : int, or str
        bytes of a sample: 1 (unsigned), 2, 3 or 4 (signed), as a WAV has them; or how it is encoded: u8, s16le, s24le,
        s24le-in-32, s32le, f32le, f64le, alaw or mulaw
    channels : int
        how many there are
    channel : int from 1, "mean" or "loudest"
        which of them is taken

    Returns
    -------
    np.ndarray [shape=(samples,), dtype=float32]
        mono at 16 kHz, full scale 1.0

    Raises
    ------
    speechrnn.errors.InputError
        if the layout can't be, `data` ends amid a frame, or a sample is NaN or infinite

    Examples
    --------
    >>> from speechrnn.audio import from_pcm
    >>> from_pcm(bytes([0, 64, 0, 192]))
    array([ 0.5, -0.5], dtype=float32)
    """
    layout = pcm.Layout(rate, pcm.ENCODING_OF_WIDTH.get(width, str(width)), channels)
    if len(data) % layout.frame_bytes:
        raise AudioError(f"PCM: {len(data)} bytes are no whole number of frames of {layout.frame_bytes} bytes")
    return Converter(rate, channels, channel, "PCM")(layout.decode(data), True)


def blocks(
    source: Source, *, seconds: float = 10.0, max_seconds: float | None = None, channel: Channel = "mean"
) -> Iterator[np.ndarray]:
    """Read a sound of any length piece by piece; joined, the pieces equal what `load` gives.

    Parameters
    ----------
    source : path, bytes of a sound file, or binary file object
        as in `load`
    seconds : number > 0
        how much is read at a time. A resampled piece is a little shorter or longer.
    max_seconds, channel
        as in `load`

    Yields
    ------
    np.ndarray [shape=(samples,), dtype=float32]
        mono at 16 kHz, never empty

    Raises
    ------
    speechrnn.errors.AudioError
        as in `load`, with the piece where the trouble is found: for a FLAC cut in half, after its first half
    """
    name = source_name(source)
    convert, yielded, frames = None, False, 0
    for read in native_blocks(source, seconds=seconds, max_seconds=max_seconds):
        if convert is None:
            convert = Converter(read.rate, read.samples.shape[1], channel, name, read.start)
        piece = convert(read.samples, read.last)
        frames += len(read.samples)
        if len(piece):
            yielded = True
            yield piece
        if read.last:
            convert = None  # a sound that is joined to this one may have another rate, and other channels
    if not yielded:
        raise AudioError(f"{name}: holds no sound ({frames} frames): record or copy it again")


class Native(NamedTuple):
    """A piece of a sound as its file has it."""

    samples: np.ndarray  # [frames, channels], float32
    rate: int  # Hz
    start: float  # seconds from the beginning of the file
    last: bool  # of a sound; another may be joined to it, at another rate and with other channels


def native_blocks(source: Source, *, seconds: float = 10.0, max_seconds: float | None = None) -> Iterator[Native]:
    """Read a sound of any length piece by piece, at the rate and with the channels that the file has.

    Parameters and errors are those of `blocks`. Samples may be NaN or infinite.
    """
    name = source_name(source)
    with _opened(source, name) as file:
        path = os.path.abspath(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
        start = 0.0
        for sound in _sounds(file, name, path):
            with _decoder(sound, name) as decoder:
                for native in _decoded(decoder, sound, name, seconds, max_seconds, start):
                    yield native
                start = native.start + len(native.samples) / native.rate


def _sounds(file: BinaryIO, name: str, path: str | None) -> list[containers.Splice]:
    try:
        return containers.sounds(file, name, path)
    except OSError as error:
        raise AudioError(f"{name}: can't be read ({error.strerror or error}): check the disk") from error


def _decoded(
    decoder: "Decoder | media.Decoder",
    sound: containers.Splice,
    name: str,
    seconds: float,
    max_seconds: float | None,
    start: float,
) -> Iterator[Native]:
    """The pieces of one of the sounds that are joined in a file; it begins at second `start`."""
    rate, frames = decoder.samplerate, decoder.frames
    longest = None if max_seconds is None else (max_seconds - start) * rate
    if longest is not None and longest < frames < UNKNOWN_FRAMES:
        raise AudioError(
            f"{name}: is {start + frames / rate:.1f} s long, at most {max_seconds:g} s are taken: cut it first"
        )
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"{name}: claims a rate of {rate} Hz, {LOWEST_RATE} to {HIGHEST_RATE} are taken: correct it")
    length = min(max(1, round(seconds * rate)), max(1, frames), max(1, BLOCK_VALUES // decoder.channels))
    position, last = 0, False
    while not last:
        try:
            samples = decoder.read(length)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{name}: is damaged or cut off after {position / rate:.2f} s ({reason(error)}): get a whole copy"
            ) from error
        if sound.trouble is not None:
            raise AudioError(
                f"{name}: can't be read after {position / rate:.2f} s "
                f"({sound.trouble.strerror or sound.trouble}): check the disk"
            )
        begun = start + position / rate
        position += len(samples)
        if longest is not None and position > longest:
            raise AudioError(f"{name}: is longer than {max_seconds:g} s, the most that is taken: cut it first")
        last = len(samples) < length or position >= frames
        if last:
            _check_all_read(decoder, position, name)
        yield Native(samples, rate, begun, last)


class Converter:
    """Converts a sound of any rate [Hz] and number of channels, piece by piece, to float32 mono at 16 kHz.

    Messages call it `name`, and count time from the `second` at which it begins.
    """

    def __init__(self, rate: int, channels: int, channel: Channel, name: str, second: float = 0.0) -> None:
        self._mix, self._resample = Mixer(channel, channels, rate, name), resampler(rate)
        self._rate, self._name, self._second = rate, name, second

    def __call__(self, frames: np.ndarray, last: bool) -> np.ndarray:
        """The samples [samples] that are ready after the next frames [frames, channels].

        Raises
        ------
        speechrnn.errors.AudioError
            if a sample is NaN or infinite, or overflows when it is resampled
        """
        mono = self._mix(frames)
        finite = np.isfinite(mono)
        if not finite.all():
            second = self._second + int(finite.argmin()) / self._rate
            raise AudioError(f"{self._name}: has a sample that is NaN or infinite at {second:.3f} s: export it again")
        piece = self._resample(mono, last)
        if not np.isfinite(piece).all():
            raise AudioError(
                f"{self._name}: has samples behind {self._second:.1f} s that overflow when it is resampled: export it "
                "again, with full scale at 1.0"
            )
        self._second += len(mono) / self._rate
        return piece


def seconds_of(source: Source) -> float | None:
    """How long a sound is by its headers; None where they leave it open or it can't be read (reading it says why)."""
    name = source_name(source)
    try:
        total = 0.0
        with _opened(source, name) as file:
            for sound in _sounds(file, name, None):
                with _decoder(sound, name) as decoder:
                    total += decoder.frames / decoder.samplerate if decoder.frames < UNKNOWN_FRAMES else np.inf
    except AudioError:
        return None
    return total if np.isfinite(total) else None


def resampler(rate: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """(mono samples at `rate`, whether they are the last) -> the samples at 16 kHz that are ready by then."""
    if rate == SAMPLE_RATE:
        return lambda mono, last: mono
    import soxr  # here, because most sound for this model is at 16 kHz already, and a command line should start fast

    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    return lambda mono, last: stream.resample_chunk(mono, last=last)


def source_name(source: Source) -> str:
    """What messages call the source. Always one line, even for a path with a line break in it."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if hasattr(source, "read"):
        name = getattr(source, "name", "<bytes>")  # io.BytesIO has none; sys.stdin.buffer is called <stdin>
        name = os.fsdecode(name) if isinstance(name, str | bytes) else f"<file {name}>"
    else:
        name = os.fsdecode(source)
    return printable(name) or repr(name)


@contextlib.contextmanager
def _opened(source: Source, name: str) -> Iterator[BinaryIO]:
    """A seekable binary file at its beginning, not empty. What is opened here is closed here."""
    file: BinaryIO
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(source, bytes | bytearray | memoryview):
                file = io.BytesIO(source)
            elif isinstance(source, io.TextIOBase):
                raise AudioError(f'{name}: is open as text: open it with mode "rb", or use its .buffer')
            elif hasattr(source, "read"):
                file = cast(BinaryIO, source)
            elif os.path.isdir(source):  # asked beforehand because Windows calls it a lack of permission
                raise AudioError(f"{name}: is a directory: name a sound file in it")
            else:
                file = stack.enter_context(open(os.fspath(source), "rb"))
            if not file.seekable():
                file = io.BytesIO(file.read())
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
        except FileNotFoundError as error:
            raise AudioError(f"{name}: no such file: check the path") from error
        except PermissionError as error:
            raise AudioError(f"{name}: permission denied: make it readable for this user") from error
        except OSError as error:
            raise AudioError(f"{name}: can't be opened ({error.strerror or error}): check the path") from error
        if size == 0:
            raise AudioError(f"{name}: is empty (0 bytes): record or copy it again")
        yield file


class Decoder(soundfile.SoundFile):
    """A sound file read from front to back.

    `SoundFile.read` seeks after every read, to where the file stands anyway. An MP3 decoder loses its memory by that
    and clicks at every block; a file that says it can't seek is left alone.
    """

    def seekable(self) -> bool:
        return False

    def read(self, frames: int) -> np.ndarray:  # type: ignore[override]
        return super().read(frames, dtype="float32", always_2d=True)


@contextlib.contextmanager
def _decoder(sound: containers.Splice, name: str) -> Iterator["Decoder | media.Decoder"]:
    """Open the sound with libsndfile, or with FFmpeg where it is of a kind that libsndfile can't read."""
    container = media.container(sound)
    if container is not None:
        with media.decoder(sound, container, name) as decoder:
            yield decoder
        return
    sound.seek(0)
    try:
        opened = Decoder(io.BufferedReader(sound, READ_AT_ONCE))
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name}: can't be read as sound ({reason(error)}): convert it to WAV or FLAC, for instance with ffmpeg"
        ) from error
    with opened:
        yield opened


def _check_all_read(decoder: "Decoder | media.Decoder", position: int, name: str) -> None:
    """See that decoding ended where the header says."""
    # An Ogg file whose last page is whole is whole, though encoders have been seen to promise a bit more; MPEG layers
    # I and II have their length guessed from their size.
    if not isinstance(decoder, Decoder) or decoder.format == "OGG" or decoder.subtype in GUESSED:
        return
    if position < decoder.frames < UNKNOWN_FRAMES:
        raise AudioError(
            f"{name}: is cut off ({position / decoder.samplerate:.2f} s of {decoder.frames / decoder.samplerate:.2f} s "
            "are there): get a whole copy"
        )


def reason(error: Exception) -> str:
    """The message of a libsndfile error, in one line and without the name that it gives to the file."""
    return " ".join(str(getattr(error, "error_string", error)).split()).removeprefix("Error : ").rstrip(".")
