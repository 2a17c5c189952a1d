"""The frames of an MP3, counted one by one: decoders trust a guessed length, or a wrong one in a tag."""

import struct
from typing import BinaryIO, NamedTuple

from speechrnn.errors import AudioError

V1, V2, V2_5 = 3, 2, 0  # version bits of a frame header
RATES = {V1: (44_100, 48_000, 32_000), V2: (22_050, 24_000, 16_000), V2_5: (11_025, 12_000, 8_000)}
# kbit/s by (whether MPEG 1, layer) and the index in the header; 0 is "free format", which says no length
BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RESYNC = 1 << 16  # bytes that are searched for a further frame where there should be one
HEAD = 64  # bytes of a frame that are looked at: its header, and a tag with the number of frames
COUNTED = 9  # index of a bit rate at which every frame has room for such a tag
JUNK_SHARE = 0.1  # of a file may be something unknown behind the last frame, such as a tag
OTHERS = (b"RIFF", b"OggS", b"fLaC", b"FORM")  # begin another sound, not junk


class Frame(NamedTuple):
    """What a frame header says."""

    version: int
    layer: int
    rate: int
    mono: bool
    length: int  # bytes, header included


class Run(NamedTuple):
    """Frames of one kind, one behind the other."""

    parts: list[bytes | tuple[int, int]]  # of the file, and bytes of ours
    end: int  # of the frames and of the junk behind them


def frame(head: bytes) -> Frame | None:
    """Read a frame header; None if it isn't one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, bit_rate_index, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_index == 3 or bit_rate_index in (0, 15):
        return None
    rate = RATES[version][rate_index]
    bit_rate = 1000 * BIT_RATES[version == V1, layer][bit_rate_index]
    if layer == 1:
        length = (12 * bit_rate // rate + padding) * 4
    else:
        length = (72 if layer == 3 and version != V1 else 144) * bit_rate // rate + padding
    return Frame(version, layer, rate, head[3] >> 6 == 3, length)


def is_frame(file: BinaryIO, place: int, end: int) -> bool:
    """Whether a frame begins here: one header could be chance, two in a row are not."""
    first = _frame_at(file, place)
    if first is None or place + first.length > end:
        return False
    following = place + first.length
    return (
        following == end or _alike(first, _frame_at(file, following)) or behind_tags(file, following, end) > following
    )


def behind_tags(file: BinaryIO, place: int, end: int) -> int:
    """The first byte that belongs neither to tags (ID3, APE, "TAG") nor to the zeros around them.

    At the start of a file zeros are skipped only behind a tag: some formats begin with zeros.
    """
    while place < end:
        before = place
        file.seek(place)
        head = file.read(32)
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:  # seven bits a byte
            place += 10 + sum(size << 7 * (3 - i) for i, size in enumerate(head[6:10])) + 10 * (head[5] >> 4 & 1)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            is_header = head[23] & 0x20
            place += 32 + (struct.unpack_from("<I", head, 12)[0] if is_header else 0)
        elif head[:3] == b"TAG" and end - place in (128, 128 + 227):  # ID3v1, and its longer form
            place = end
        elif place:
            place = _behind_zeros(file, place, end)
        if place == before:
            break
    return min(place, end)


def run(file: BinaryIO, start: int, end: int, name: str) -> Run:
    """The frames from `start` on that are of one kind, with their number in front where the file has it wrong.

    Raises
    ------
    speechrnn.errors.AudioError
        if frames are missing, or damaged
    """
    head = _head(file, start)
    first = frame(head)
    if first is None:
        raise AudioError(f"{name}: is damaged at byte {start}: get a whole copy")
    promised = _promised(head, first)
    place, count = start, 0
    while (found := frame(head)) and _alike(first, found) and place + found.length <= end:
        if count and _promised(head, found) is not None:  # another MP3 behind this one
            break
        place += found.length
        count += 1
        head = _head(file, place)
    piece_of_frame = place < end and _alike(first, found) and place + (found.length if found else 0) > end
    behind = end if piece_of_frame else _behind(file, place, start, end, first, name)
    if first.layer != 3 or promised is None:
        counted, sounding = first.layer != 3, count
    else:
        counted, sounding = promised == count - 1, count - 1
        # One more than there are: some writers count the frame of the tag itself.
        if promised > sounding + (not piece_of_frame):
            raise AudioError(f"{name}: is cut off ({sounding} of {promised} frames are there): get a whole copy")
    if counted:
        return Run([(start, place)], behind)
    tag = first.length if promised is not None else 0
    return Run([_counting(file, start, first, sounding), (start + tag, place)], behind)


def _behind(file: BinaryIO, place: int, start: int, end: int, first: Frame, name: str) -> int:
    """Where something else can begin behind the last frame of a run. A gap between frames is damage."""
    behind = behind_tags(file, place, end)
    if behind >= end or is_frame(file, behind, end):
        return behind
    file.seek(behind)
    junk = file.read(RESYNC)
    at = junk.find(b"\xff")
    while at >= 0:
        if _alike(first, frame(junk[at : at + 4])) and is_frame(file, behind + at, end):
            raise AudioError(f"{name}: is damaged at byte {place}: get a whole copy")
        at = junk.find(b"\xff", at + 1)
    if end - behind > JUNK_SHARE * (end - start) and junk[:4] not in OTHERS:
        raise AudioError(f"{name}: is damaged at byte {place}: get a whole copy")
    return behind


def _head(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(HEAD).ljust(HEAD, b"\0")


def _frame_at(file: BinaryIO, place: int) -> Frame | None:
    return frame(_head(file, place))


def _alike(first: Frame, other: Frame | None) -> bool:
    return other is not None and first._replace(length=0) == other._replace(length=0)


def _tag_offset(found: Frame) -> int:
    """Where encoders put a tag with the number of frames: behind the header and what it calls side information."""
    return 4 + ((17 if found.mono else 32) if found.version == V1 else (9 if found.mono else 17))


def _promised(head: bytes, found: Frame) -> int | None:
    """How many frames the tag in this frame says there are (0: it doesn't say); None where it has no tag."""
    offset = _tag_offset(found)
    if head[offset : offset + 4] in (b"Xing", b"Info"):
        flags, frames = struct.unpack_from(">II", head, offset + 4)
        return frames if flags & 1 else 0
    if head[36:40] == b"VBRI":
        return int(struct.unpack_from(">I", head, 50)[0])
    return None


def _counting(file: BinaryIO, place: int, first: Frame, count: int) -> bytes:
    """A frame without sound that says how many follow, like those at `place`."""
    file.seek(place)
    sync, kind, rates, channels = file.read(4)
    header = bytes([sync, kind | 1, COUNTED << 4 | rates & 0x0C, channels])  # no checksum, no padding
    made = frame(header)
    length = made.length if made else 0
    return (header + bytes(_tag_offset(first) - 4) + b"Info" + struct.pack(">II", 1, count)).ljust(length, b"\0")


def _behind_zeros(file: BinaryIO, place: int, end: int) -> int:
    file.seek(place)
    while place < end:
        data = file.read(min(RESYNC, end - place))
        sounding = data.lstrip(b"\0")
        place += len(data) - len(sounding)
        if sounding or not data:
            break
    return place
