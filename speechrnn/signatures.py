"""The kind of a file or of piped data, by its first bytes."""

from typing import NamedTuple

from speechrnn import mpeg

ENOUGH = 6144  # bytes: three frames of MPEG sound, from anywhere in a stream
TEXT = 64  # bytes, all of them characters: PCM has one in 10^14 of that

SOUNDS = (
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"dns.", "AU"),
    (0, b"caff", "CAF"),
    (0, b"riff\x2e\x91\xcf\x11", "W64"),
    (0, b"NIST_1A", "SPHERE"),
    (0, b"Creative Voice File", "VOC"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "WMA"),
    (0, b"#!AMR", "AMR"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
)
OTHERS = (
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"PK\x03\x04", "zip"),
    (4, b"1AY&SY", "bzip2"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"%PDF", "PDF"),
    (0, b"\x7fELF", "a program"),
    (0, b"SQLite format 3", "a database"),
    (257, b"ustar", "tar"),
    (0, b"\0\x05\x16\x07", "a companion file of macOS"),
)


class Kind(NamedTuple):
    """What it is called, and whether it holds sound."""

    name: str
    is_sound: bool


def recognised(head: bytes, maybe_text: bool = True) -> Kind | None:
    """What begins with these bytes, of which there are `ENOUGH` or all; None if nothing that is known, as raw PCM does.

    Text is only looked for where sound couldn't pass for it: 8-bit PCM could.
    """
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return Kind("WAV", True)
    if head[:4] == b"RIFX" and head[8:12] == b"WAVE":
        return Kind("big-endian WAV", True)
    for signatures, is_sound in ((SOUNDS, True), (OTHERS, False)):
        for place, magic, name in signatures:
            if head[place : place + len(magic)] == magic:
                return Kind(name, is_sound)
    if head[:1] == b"\x08" and head[1:3] < b"\x20\x12" and head[2:3] == b"\x12" and head[4:8].isalnum():
        return Kind("an ONNX model", False)  # the version of its format, then the name of its writer
    for start in range(len(head)):
        if head[start] == 0xFF and frames_follow(head, start):
            return Kind("MP3" if mpeg_frame(head[start : start + 4]) else "AAC", True)
    if maybe_text and _is_text(head[:TEXT]):
        return Kind("text", False)
    return None


def _is_text(head: bytes) -> bool:
    for length in range(len(head), len(head) - 4, -1):  # a character may be cut at the end
        try:
            text = head[:length].decode()
        except UnicodeDecodeError:
            continue
        return bool(text) and all(character.isprintable() or character.isspace() for character in text)
    return False


def tag_length(head: bytes) -> int:
    """Bytes of the ID3v2 tag that these ten bytes begin; 0 if they begin none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
    return size + (20 if head[5] & 0x10 else 10)


def frames_follow(head: bytes, start: int = 0) -> bool:
    """Whether three frames of MPEG sound, of one kind, stand from there on."""
    kind = b""
    for _ in range(3):
        header = head[start : start + 6]
        length = mpeg_frame(header) or _adts_frame(header)
        same = bytes([header[1], header[2] & (0x0C if mpeg_frame(header) else 0x3C)]) if length else b""
        if not length or (kind and same != kind):
            return False
        kind, start = same, start + length
    return True


def _adts_frame(header: bytes) -> int:
    """Bytes of the frame of AAC that this header begins; 0 if it is none."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 0x0F > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else 0


def mpeg_frame(header: bytes) -> int:
    """Bytes of the frame that this header begins; 0 if it is none of MPEG layers II and III."""
    found = mpeg.frame(header)
    return found.length if found and found.layer != 1 else 0
