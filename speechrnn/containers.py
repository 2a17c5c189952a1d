"""Where the sound lies in a file, whether all of it is there, and how many sounds are joined: what headers tell.

Decoders stop at the first end that they meet, take a size of zero at its word, and call a file broken for the tags
around it. So each sound of a file is handed to them as a `Splice`: without the tags, with the sizes put right.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import BinaryIO, Literal, NamedTuple

from speechrnn import mpeg, pcm
from speechrnn.errors import AudioError
from speechrnn.pcm import HEADER_SLACK

UNKNOWN_SIZE = {4: pcm.UNKNOWN_SIZE, 8: 1 << 62}  # bytes, by the width of the field
OVERFLOW = 1 << 32
MOST_CHUNKS = 100_000  # of a file; more are an attack on whoever reads it
SEARCHED_AT_ONCE = 1 << 20  # bytes
WAVE_MPEG, WAVE_MP3, WAVE_EXTENSIBLE = 0x50, 0x55, 0xFFFE  # format tags
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Splice(io.RawIOBase):
    """Stretches of a file (first byte, byte behind the last) and bytes of ours, read as one file.

    It is read from C, where an exception can go nowhere: what goes wrong is kept in `trouble`.
    """

    def __init__(self, file: BinaryIO, parts: Sequence[bytes | tuple[int, int]]) -> None:
        self._file = file
        self.path: str | None = None  # of a file that is exactly this
        self._parts: list[tuple[bytes | tuple[int, int], int, int]] = []  # each with where it begins here, and ends
        self.size = 0
        for part in parts:
            length = len(part) if isinstance(part, bytes) else part[1] - part[0]
            self._parts.append((part, self.size, self.size + length))
            self.size += length
        self._position = 0
        self.trouble: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)  # libsndfile seeks to places before the start where a header is broken
        return self._position

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def, override]  # of a type that 3.11 can't name
        wanted, done = len(buffer), 0
        try:
            for part, first, end in self._parts:
                if self._position >= end:
                    continue
                offset, length = self._position - first, min(wanted - done, end - self._position)
                if isinstance(part, bytes):
                    data = part[offset : offset + length]
                else:
                    self._file.seek(part[0] + offset)
                    data = self._file.read(length)
                buffer[done : done + len(data)] = data
                done += len(data)
                self._position += len(data)
                if done == wanted or len(data) < length:
                    break
        except OSError as error:
            self.trouble = error
        return done


class _Sound(NamedTuple):
    """One sound of a file: what of the file it is, and where the next one can begin."""

    parts: Sequence[bytes | tuple[int, int]]
    end: int


def sounds(file: BinaryIO, name: str, path: str | None = None) -> list[Splice]:
    """The sounds of a file, one after the other; nearly always one.

    Parameters
    ----------
    file : seekable binary file
    name : str
        what messages call it
    path : str or None
        where the file is, if it is anywhere

    Raises
    ------
    speechrnn.errors.AudioError
        if one of them is cut off or damaged, as far as headers tell
    """
    size = file.seek(0, os.SEEK_END)
    found: list[Splice] = []
    start = mpeg.behind_tags(file, 0, size)
    if start == size:  # tags or zeros alone
        start = 0
    while start < size:
        parse = _parser(file, start, size)
        if parse is None:
            if not found:  # no container that is known here: whoever decodes it says what it is
                found.append(Splice(file, [(start, size)]))
            break
        sound = parse(file, start, size, name)
        found.append(Splice(file, sound.parts))
        start = mpeg.behind_tags(file, max(sound.end, start + 1), size)
    if len(found) == 1 and found[0].size == size:
        found[0].path = path
    return found


def cut_off(name: str, missing: int) -> AudioError:
    return AudioError(f"{name}: is cut off (at least {missing} bytes are missing): get a whole copy")


def _parser(file: BinaryIO, start: int, size: int) -> Callable[[BinaryIO, int, int, str], _Sound] | None:
    """Who knows the container that begins here."""
    file.seek(start)
    head = file.read(16)
    if head[:4] in CHUNKS and head[8:12] in CHUNKS[head[:4]].forms:
        return _chunked
    by_magic = {b"OggS": _ogg, b"fLaC": _flac, b".snd": _au, b"\xf0\x7e": _sds}
    for magic, parse in by_magic.items():
        if head.startswith(magic):
            return parse
    return _mp3 if mpeg.is_frame(file, start, size) else None


# Chunks: WAV, RF64, Wave64, AIFF, 8SVX, CAF


class Chunks(NamedTuple):
    """How a family of formats writes its chunks: a label, how long it is, what is in it."""

    header: str  # struct of label and size
    sound: bytes  # label of the chunk with the sound
    forms: tuple[bytes, ...]  # what stands at byte 8
    first: int = 12  # where the first chunk begins
    field: int = 4  # bytes of a size
    own: int = 0  # bytes of its header that a size counts
    inner: int = 0  # bytes in front of the samples that it counts
    even: int = 2  # chunks start at multiples of it


SVX = (b"8SVX", b"16SV")
CHUNKS = {
    b"RIFF": Chunks("<4sI", b"data", (b"WAVE",)),
    b"RIFX": Chunks(">4sI", b"data", (b"WAVE",)),
    b"RF64": Chunks("<4sI", b"data", (b"WAVE",)),
    b"FORM": Chunks(">4sI", b"SSND", (b"AIFF", b"AIFC", *SVX), inner=8),
    b"riff": Chunks(
        "<16sQ", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", (b"\xa5\xd6\x28\xdb",),
        first=40, field=8, own=24, even=8,
    ),
    b"caff": Chunks(">4sQ", b"data", (b"\0\0\0\0", b"desc"), first=8, field=8, inner=4, even=1),
}  # fmt: skip


def _chunked(file: BinaryIO, start: int, size: int, name: str) -> _Sound:
    file.seek(start)
    magic, form = struct.unpack("<4s4x4s", file.read(12))
    layout = CHUNKS[magic]
    header = struct.Struct(layout.header)
    field = layout.field
    label_of_sound = b"BODY" if form in SVX else layout.sound
    whole, wave_format = _form_size(file, start, magic), 0
    long_size: tuple[int, int] | None = None  # RF64: where the size of the sound stands, and what it is
    place, end = start + layout.first, size
    found = None  # the chunk with the sound: where its size stands, how wide, how much, and where it begins
    for _ in range(MOST_CHUNKS):
        if place >= size:
            break
        file.seek(place)
        head = file.read(header.size)
        if len(head) < header.size or (found and not _is_label(head[:4])):
            break
        label, promised = header.unpack(head)
        promised = max(0, promised - layout.own)
        body = place + header.size
        if label == b"ds64" and magic == b"RF64":
            riff_size, data_size = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
            long_size, whole = (body + 8, data_size), 8 + riff_size
        elif label == b"fmt ":
            wave_format = _wave_format(file.read(26), layout.header[0])
        elif label == label_of_sound and not found:
            found = body - field, field, promised, body
            if long_size and promised == 0xFFFF_FFFF:
                found = long_size[0], 8, long_size[1], body
                promised = long_size[1]
        if found:
            end = min(size, body + promised)
        place = body + promised + -promised % layout.even  # chunks start at even places
    if not found:
        return _Sound([(start, size)], size)
    field_place, width, promised, body = found
    present = size - body
    empty = promised <= layout.inner and body + layout.inner < start + whole <= size + HEADER_SLACK
    unknown = promised <= layout.inner < present and not empty
    # A 32-bit size that ran over, as of a recording of 7 hours in stereo; or one that the writer didn't know.
    unknown |= present >= OVERFLOW > promised and (present - promised) % OVERFLOW <= HEADER_SLACK
    unknown |= promised > present and promised >= UNKNOWN_SIZE[width]
    if present + HEADER_SLACK < promised and not unknown:
        raise cut_off(name, promised - present)
    if wave_format in (WAVE_MPEG, WAVE_MP3) and mpeg.is_frame(file, body, size):
        return _mp3(file, body, size if unknown else min(size, body + promised), name)
    if not unknown:
        return _Sound([(start, end)], end)
    known = min(present + layout.own, (1 << 8 * width) - 1)
    order: Literal["little", "big"] = "little" if layout.header[0] == "<" else "big"
    repaired = known.to_bytes(width, order)
    return _Sound([(start, field_place), repaired, (field_place + width, size)], size)


def _form_size(file: BinaryIO, start: int, magic: bytes) -> int:
    """How long the file is by its own first size, which may be wrong; 0 where it doesn't say."""
    file.seek(start)
    head = file.read(24).ljust(24, b"\0")
    if magic == b"riff":
        return int(struct.unpack_from("<Q", head, 16)[0])
    if magic == b"caff":
        return 0
    return 8 + int(struct.unpack_from(CHUNKS[magic].header[0] + "I", head, 4)[0])


def _wave_format(chunk: bytes, order: str) -> int:
    """The format tag of a WAV, behind "extensible" the one that it stands for."""
    tag = int(struct.unpack(order + "H", chunk[:2].ljust(2, b"\0"))[0])
    return int(struct.unpack(order + "H", chunk[24:26])[0]) if tag == WAVE_EXTENSIBLE and len(chunk) == 26 else tag


def _is_label(label: bytes) -> bool:
    """Whether a further chunk begins here, and not another file or what somebody left at the end."""
    return label not in CHUNKS and all(32 <= byte < 127 for byte in label)


# Streams: Ogg, FLAC, MP3, AU, SDS


def _ogg(file: BinaryIO, start: int, size: int, name: str) -> _Sound:
    """Pages up to where a further stream begins (RFC 3533). Decoders leave out damaged ones without a word."""
    place, begun = start, False
    while place < size:
        file.seek(place)
        head = file.read(27)
        if head[:4] != b"OggS":
            break
        segments = file.read(head[26]) if len(head) == 27 else b""
        whole = 27 + (head[26] if len(head) == 27 else 0)
        missing = whole - len(head) - len(segments)
        body = b"" if missing > 0 else file.read(sum(segments))
        missing = missing if missing > 0 else sum(segments) - len(body)
        if missing > 0:
            raise cut_off(name, missing)
        begins = bool(head[5] & 2)
        if begins and begun:
            break
        begun |= not begins
        if _ogg_checksum(head[:22] + bytes(4) + head[26:] + segments + body) != head[22:26]:
            raise AudioError(f"{name}: is damaged at byte {place}: get a whole copy")
        place += whole + len(body)
    behind = mpeg.behind_tags(file, place, size)
    if _finds(file, b"OggS", behind, size) > behind:
        raise AudioError(f"{name}: is damaged at byte {place}: get a whole copy")
    return _Sound([(start, place)], place)


def _ogg_checksum(page: bytes) -> bytes:
    """CRC-32 with its bits the other way round than zlib's, from 0 and not inverted at the end."""
    checksum = zlib.crc32(page.translate(REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return checksum.to_bytes(4, "little").translate(REVERSED)[::-1]


def _flac(file: BinaryIO, start: int, size: int, name: str) -> _Sound:
    """A stream up to where a further one begins: its mark, and the STREAMINFO that has to come first (RFC 9639)."""
    place, last = start + 4, False
    while not last and place + 4 <= size:  # over the metadata: a picture may hold anything
        file.seek(place)
        head = file.read(4)
        last = bool(head[0] & 0x80)
        place += 4 + int.from_bytes(head[1:], "big")
    ends = [_finds(file, b"fLaC" + first + b"\0\0\x22", place, size) for first in (b"\0", b"\x80")]
    end = min((end for end in ends if end >= 0), default=size)
    return _Sound([(start, end)], end)


def _finds(file: BinaryIO, mark: bytes, place: int, size: int) -> int:
    """Where a mark stands first, from `place` on; -1 where it doesn't."""
    kept = b""
    file.seek(min(place, size))
    while data := file.read(SEARCHED_AT_ONCE):
        kept += data
        if (at := kept.find(mark)) >= 0:
            return place + at
        place += max(0, len(kept) - len(mark) + 1)
        kept = kept[-len(mark) + 1 :]
    return -1


def _mp3(file: BinaryIO, start: int, size: int, name: str) -> _Sound:
    run = mpeg.run(file, start, size, name)
    return _Sound(run.parts, run.end)


def _au(file: BinaryIO, start: int, size: int, name: str) -> _Sound:
    file.seek(start)
    _, header, promised = struct.unpack(">4sII", file.read(12).ljust(12, b"\0"))
    present = size - start - header
    if promised == 0 < present:
        return _Sound([(start, start + 8), b"\xff" * 4, (start + 12, size)], size)  # "unknown", by its definition
    if present + HEADER_SLACK < promised < UNKNOWN_SIZE[4]:
        raise cut_off(name, promised - present)
    return _Sound([(start, size)], size)


def _sds(file: BinaryIO, start: int, size: int, name: str) -> _Sound:
    """Packets of a MIDI sample dump: where one is damaged, libsndfile complains on stdout and goes on."""
    place = start + 21
    while place + 127 <= size:
        file.seek(place)
        packet = file.read(127)
        if packet[:2] + packet[3:4] + packet[-1:] != b"\xf0\x7e\x02\xf7":
            raise AudioError(f"{name}: is damaged at byte {place}: get a whole copy")
        place += 127
    if place != size:
        raise AudioError(f"{name}: is cut off or damaged at byte {place}: get a whole copy")
    return _Sound([(start, size)], size)
