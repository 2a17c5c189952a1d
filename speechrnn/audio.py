"""Sound of any kind flows in (file, bytes or pipe; any format, rate, channels); float32 mono at 16 kHz flows out.

`load` gives a whole sound, `blocks` the same samples piece by piece, for recordings that don't fit into memory.
Sound that is broken, cut off or not sound at all is refused with an `AudioError` rather than shortened silently, as
far as its format lets one tell (raw-like ones such as VOC and SPHERE don't reach that far).
"""

import contextlib
import io
import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile

from speechrnn.channels import Channel, Mixer
from speechrnn.errors import AudioError
from speechrnn.text import printable

SAMPLE_RATE = 16_000  # Hz
SUFFIXES = frozenset([".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64"])

# Writers that can't go back to their header (ffmpeg, arecord, sox into a pipe) put 0 or one of several huge numbers
# where the size of the sound belongs: 0x7F000000 (sox, AIFF) is the smallest, 0xFFFFFFFF (ffmpeg) the largest.
UNKNOWN_SIZE = 0x7F00_0000  # bytes
UNKNOWN_FRAMES = 1 << 62  # libsndfile says 2^63 - 1 where a header leaves the length open, as in a piped FLAC
HEADER_SLACK = 64  # bytes; writers miscount headers and padding by a few, and such files are whole

Source = str | os.PathLike[str] | bytes | BinaryIO


def load(source: Source, *, max_seconds: float | None = None, channel: Channel = "mean") -> np.ndarray:
    """Read a whole sound.

    Parameters
    ----------
    source : path, bytes of a sound file, or binary file object
        anything libsndfile reads (WAV, FLAC, OGG, MP3, AIFF, ...), at any rate, with any number of channels.
        A file object that can seek is read from its beginning, another (a pipe) to its end.
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
    with _opened(source, name) as file, _decoder(file, name) as decoder:
        rate, frames = decoder.samplerate, decoder.frames
        if max_seconds is not None and max_seconds * rate < frames < UNKNOWN_FRAMES:
            raise AudioError(
                f"{name}: is {frames / rate:.1f} s long, at most {max_seconds:g} s are taken: cut it first"
            )
        resample, mix = resampler(rate), Mixer(channel, decoder.channels, rate, name)
        length = min(max(1, round(seconds * rate)), max(1, frames))  # a header that claims 2 GHz must not cost 80 GB
        position, yielded = 0, False
        while True:
            try:
                read = decoder.read(length, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{name}: is damaged or cut off after {position / rate:.2f} s ({_reason(error)}): get a whole copy"
                ) from error
            mono = mix(read)
            finite = np.isfinite(mono)
            if not finite.all():
                second = (position + int(finite.argmin())) / rate
                raise AudioError(f"{name}: has a sample that is NaN or infinite at {second:.3f} s: export it again")
            position += len(mono)
            if max_seconds is not None and position > max_seconds * rate:
                raise AudioError(f"{name}: is longer than {max_seconds:g} s, the most that is taken: cut it first")
            ended = len(mono) < length
            if ended:
                _check_all_read(decoder, file, position, name)
            piece = resample(mono, ended)
            if len(piece):
                yielded = True
                yield piece
            if ended:
                break
        if not yielded:
            raise AudioError(f"{name}: holds no sound ({position} frames): record or copy it again")


def sound_files(folder: Path) -> list[Path]:
    """All sound files below a folder, by their endings; sorted, so that lists are the same on every machine.

    Raises
    ------
    speechrnn.errors.AudioError
        if there is no such folder, or no sound in it
    """
    if not folder.is_dir():
        raise AudioError(f"{folder}: no such folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise AudioError(f"{folder}: holds no sound files ({', '.join(sorted(SUFFIXES))})")
    return files


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


class _Decoder(soundfile.SoundFile):
    """A sound file read from front to back.

    `SoundFile.read` seeks after every read, to where the file stands anyway. An MP3 decoder loses its memory by that
    and clicks at every block; a file that says it can't seek is left alone.
    """

    def seekable(self) -> bool:
        return False


def _decoder(file: BinaryIO, name: str) -> _Decoder:
    """Open the sound and see that it is all there, as far as the header tells."""
    wav = _wav_data_chunk(file)
    if wav is not None and wav[1] == 0 < wav[2]:
        # libsndfile takes a size of 0 at its word, but a recorder that was killed leaves one in front of good sound.
        # Such a file, and only such a one, is held in memory to put "unknown" there.
        whole = bytearray(file.read())
        struct.pack_into("<I", whole, wav[0] + 4, 0xFFFF_FFFF)
        file = io.BytesIO(whole)
    try:
        decoder = _Decoder(file)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile wants a rate for names in .raw
        raise AudioError(
            f"{name}: can't be read as sound ({_reason(error)}): convert it to WAV or FLAC, for instance with ffmpeg"
        ) from error
    # libsndfile shortens the sound to what is there, and says so nowhere but in its log of the header.
    if wav is not None:
        promised, present = wav[1:]
    elif decoder.format == "OGG":
        promised, present = _last_ogg_page(file)
    else:
        note = re.search(r"(?:SSND|BODY|data|riff|Riff size|Data Size) *: (\d+) \(should be (\d+)", decoder.extra_info)
        promised, present = map(int, note.groups()) if note else (0, 0)
    slack = 0 if decoder.format == "OGG" else HEADER_SLACK
    if present + slack < promised < UNKNOWN_SIZE:
        decoder.close()
        raise AudioError(f"{name}: is cut off (at least {promised - present} bytes are missing): get a whole copy")
    return decoder


def _wav_data_chunk(file: BinaryIO) -> tuple[int, int, int] | None:
    """Find the sound in a WAV: where its chunk starts, how many bytes it promises, how many the file holds.

    libsndfile's log tells the last two as well, but is cut at 2 KB: a few tags in front of the sound fill it.
    None for another format. The file is left at its beginning.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        magic, riff_size, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        while (magic, form) == (b"RIFF", b"WAVE") and len(header := file.read(8)) == 8:
            label, promised = struct.unpack("<4sI", header)
            start = file.tell()
            if label == b"data":
                empty_before_other_chunks = promised == 0 and start < riff_size + 8 <= size + HEADER_SLACK
                return start - 8, promised, 0 if empty_before_other_chunks else size - start
            file.seek(promised + promised % 2, os.SEEK_CUR)  # chunks start at even places
        return None
    finally:
        file.seek(0)


def _last_ogg_page(file: BinaryIO) -> tuple[int, int]:
    """How many bytes the last page of an Ogg file says it has, and how many there are (RFC 3533, section 6)."""
    position = file.tell()
    file.seek(max(0, file.seek(0, os.SEEK_END) - 65_307))  # the longest page there can be
    tail = file.read()
    file.seek(position)
    page = tail[max(0, tail.rfind(b"OggS")) :]
    segments = page[26] if len(page) > 26 else 0
    return 27 + segments + sum(page[27 : 27 + segments]), len(page)


def _counts_its_frames(file: BinaryIO) -> bool:
    """Whether an MP3 begins with a Xing, Info or VBRI header, behind an ID3v2 tag if it has one."""
    position = file.tell()
    file.seek(0)
    tag = file.read(10)
    sizes = tag[6:10] if tag[:3] == b"ID3" else b""  # seven bits a byte
    file.seek(sum(size << 7 * (3 - place) for place, size in enumerate(sizes)) + (10 if sizes else 0))
    header = file.read(256)
    file.seek(position)
    return any(name in header for name in (b"Xing", b"Info", b"VBRI"))


def _check_all_read(decoder: _Decoder, file: BinaryIO, position: int, name: str) -> None:
    """See that decoding ended where the header says, and not before the file did."""
    # An Ogg file whose last page is whole is whole, though encoders have been seen to promise a bit more; MP3s that
    # don't count their frames have their length guessed from their size, tags and all.
    missing = position < decoder.frames < UNKNOWN_FRAMES and decoder.format != "OGG"
    if missing and (decoder.format != "MP3" or _counts_its_frames(file)):
        raise AudioError(
            f"{name}: is cut off ({position / decoder.samplerate:.2f} s of {decoder.frames / decoder.samplerate:.2f} s "
            "are there): get a whole copy"
        )
    # An MP3 of variable bit rate without a Xing header has its length guessed from the first frame, and libsndfile
    # stops there. A tenth leaves room for tags at the end.
    if decoder.format == "MP3" and file.tell() < 0.9 * file.seek(0, os.SEEK_END):
        raise AudioError(f"{name}: doesn't say how long it is: convert it to WAV or FLAC, for instance with ffmpeg")


def _reason(error: Exception) -> str:
    """What libsndfile said, in one line and without the name that it gives to the file."""
    return " ".join(str(getattr(error, "error_string", error)).split()).removeprefix("Error : ").rstrip(".")
