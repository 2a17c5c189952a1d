"""Raw PCM, and the WAV header that may stand in front of it, decoded to float samples."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speechrnn.errors import AudioError, InputError

RATES = (1000, 768_000)  # Hz; a header outside of that is damaged, and resampling from 1 Hz would fill the memory
MOST_CHANNELS = 1024  # as many as libsndfile takes
# Writers that can't go back to their header (ffmpeg, arecord, sox into a pipe) put 0 or one of several huge numbers
# where the size of the sound belongs: 0x7F000000 (sox, AIFF) is the smallest of 32 bits.
UNKNOWN_SIZE = 0x7F00_0000  # bytes
HEADER_SLACK = 64  # bytes; writers miscount headers and padding by a few, and such files are whole
GUID = bytes.fromhex("000000001000800000aa00389b71")  # WAVE_FORMAT_EXTENSIBLE: what follows the two bytes of the format


class Encoding(NamedTuple):
    """How a sample is stored: in how many bytes, and how they become floats of full scale 1.0."""

    width: int
    decode: Callable[[bytes], np.ndarray]


def _from_24_bits(data: bytes) -> np.ndarray:
    padded = np.zeros((len(data) // 3, 4), np.uint8)
    padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)  # as the upper three bytes of an int32
    return padded.view("<i4")[:, 0] * 2.0**-31


def _mu_law() -> np.ndarray:
    """The 256 values of ITU-T G.711 mu-law, full scale 1.0."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude) / 32_768


def _a_law() -> np.ndarray:
    """The 256 values of ITU-T G.711 A-law, full scale 1.0."""
    code = np.arange(256) ^ 0x55
    step, segment = (code & 0x0F) << 4, (code & 0x70) >> 4
    magnitude = np.where(segment == 0, step + 8, step + 0x108 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude) / 32_768


MU_LAW, A_LAW = _mu_law().astype(np.float32), _a_law().astype(np.float32)
ENCODINGS = {
    "u8": Encoding(1, lambda data: (np.frombuffer(data, np.uint8) - np.float32(128)) / 128),
    "s16le": Encoding(2, lambda data: np.frombuffer(data, "<i2") / np.float32(32_768)),
    "s24le": Encoding(3, _from_24_bits),
    # the lower three bytes of four, as ALSA's S24_LE
    "s24le-in-32": Encoding(4, lambda data: (np.frombuffer(data, "<i4") << 8) * 2.0**-31),
    "s32le": Encoding(4, lambda data: np.frombuffer(data, "<i4") * 2.0**-31),
    "f32le": Encoding(4, lambda data: np.frombuffer(data, "<f4")),
    "f64le": Encoding(8, lambda data: np.frombuffer(data, "<f8")),
    "alaw": Encoding(1, lambda data: A_LAW[np.frombuffer(data, np.uint8)]),
    "mulaw": Encoding(1, lambda data: MU_LAW[np.frombuffer(data, np.uint8)]),
}

ENCODING_OF_WIDTH: dict[int | str, str] = {1: "u8", 2: "s16le", 3: "s24le", 4: "s32le"}  # bytes; as in a WAV


@dataclass(frozen=True)
class Layout:
    """How PCM is laid out: its rate in Hz, how samples are stored, how many channels take turns.

    Raises
    ------
    speechrnn.errors.InputError
        if one of them can't be
    """

    rate: int = 16_000
    encoding: str = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise InputError(f"PCM of kind {self.encoding!r}: is not known; there are {', '.join(ENCODINGS)}")
        if not RATES[0] <= self.rate <= RATES[1]:
            raise InputError(f"PCM at {self.rate} Hz: the rate must be {RATES[0]} to {RATES[1]} Hz")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise InputError(f"PCM of {self.channels} channels: there must be 1 to {MOST_CHANNELS}")

    def __str__(self) -> str:
        return f"{self.encoding}, {self.rate} Hz, {self.channels} channel{'s' * (self.channels > 1)}"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return ENCODINGS[self.encoding].width * self.channels

    def decode(self, data: bytes) -> np.ndarray:
        """Whole frames as float32 [frames, channels], full scale 1.0; a rest that is no whole frame is left out."""
        whole = data[: len(data) // self.frame_bytes * self.frame_bytes]
        with np.errstate(over="ignore", invalid="ignore"):  # what is infinite then is refused further on
            return ENCODINGS[self.encoding].decode(whole).astype(np.float32).reshape(-1, self.channels)


def checked(samples: np.ndarray, name: str = "array", axes: int = 1) -> np.ndarray:
    """Samples given from Python as float32, or refused: the one check of every array that a model is fed with.

    Parameters
    ----------
    samples : np.ndarray of floats [samples], or [batch, samples] with two axes
        mono at 16 kHz, full scale 1.0. Integers are refused, since nothing says what their full scale is.

    Raises
    ------
    speechrnn.errors.AudioError
        for another type or shape, and for NaN and infinite samples
    """
    if not isinstance(samples, np.ndarray):
        remedy = (
            "speechrnn.audio.from_pcm makes one of bytes" if isinstance(samples, bytes | bytearray) else "1.0 is full"
        )
        raise AudioError(f"{name}: is a {type(samples).__name__}: give a NumPy array of floats ({remedy})")
    if samples.dtype.kind != "f":
        raise AudioError(
            f"{name}: holds {samples.dtype}: give floats, full scale 1.0 (int16: samples.astype('float32') / 32768)"
        )
    if samples.ndim != axes:
        raise AudioError(f"{name}: has shape {samples.shape}: give mono sound [samples] at 16 kHz")
    if samples.dtype != np.float32:
        with np.errstate(over="ignore", invalid="ignore"):  # a double beyond float32 becomes infinite, and is refused
            samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: holds NaN or infinite samples: repair it first")
    return samples


class WavHeader(NamedTuple):
    """What stands in front of the samples of a WAV."""

    layout: Layout | None  # None: the samples are compressed, or stored in a way that isn't known here
    size: int | None  # bytes of samples; None: until the sound ends, or the next header comes
    limit: int | None  # bytes after which writers that don't know the size begin anew with a header


def read_wav_header(read: Callable[[int], bytes], name: str) -> WavHeader:
    """Read up to the first sample of a RIFF, RF64 or BW64 file; `read` gives as many bytes as it is asked for.

    Raises
    ------
    speechrnn.errors.AudioError
        if the header ends early, has no format, or claims what can't be
    """
    form, riff_size, _ = struct.unpack("<4sI4s", _exactly(read, 12, name))
    position, layout, known, long_size = 12, None, False, 0
    while True:
        label, size = struct.unpack("<4sI", _exactly(read, 8, name))
        position += 8
        if label == b"data":
            break
        if size >= UNKNOWN_SIZE:
            raise AudioError(f"{name}: has a damaged WAV header: get a whole copy")
        content = _exactly(read, size + size % 2, name)  # chunks start at even places
        position += len(content)
        if label == b"fmt " and size >= 16:
            layout, known = _layout(content, name), True
        elif label == b"ds64" and size >= 16:
            riff_size, long_size = struct.unpack("<QQ", content[:16])
    if not known:
        raise AudioError(f"{name}: has a WAV header that doesn't say how its samples are stored: get a whole copy")
    if form != b"RIFF" and size == 0xFFFF_FFFF:
        size = long_size
    if size == 0 and not position < riff_size + 8 < UNKNOWN_SIZE:  # unless other chunks follow an empty one
        return WavHeader(layout, None, None)
    if size >= UNKNOWN_SIZE and form == b"RIFF":
        return WavHeader(layout, None, size)
    return WavHeader(layout, size, None)


def _exactly(read: Callable[[int], bytes], count: int, name: str) -> bytes:
    content = read(count)
    if len(content) < count:
        raise AudioError(f"{name}: ends within its WAV header: get a whole copy")
    return content


def _layout(content: bytes, name: str) -> Layout | None:
    """What a `fmt ` chunk says of the samples; None if they aren't plain PCM."""
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == 0xFFFE and content[26:40] == GUID:
        (tag,) = struct.unpack("<H", content[24:26])
        bits = 8 * (align // max(1, channels))  # of fewer valid bits, the others are zeros below them
    width = align // max(1, channels)
    encoding = {
        (1, 8, 1): "u8",
        (1, 16, 2): "s16le",
        (1, 24, 3): "s24le",
        (1, 24, 4): "s24le-in-32",
        (1, 32, 4): "s32le",
        (3, 32, 4): "f32le",
        (3, 64, 8): "f64le",
        (6, 8, 1): "alaw",
        (7, 8, 1): "mulaw",
    }.get((tag, bits, width))
    if encoding is None:
        return None
    try:
        return Layout(rate, encoding, channels)
    except InputError as error:
        raise AudioError(f"{name}: has a damaged WAV header ({error}): get a whole copy") from None
