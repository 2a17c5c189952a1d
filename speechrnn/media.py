"""Sound that libsndfile can't read (MP4, WebM, AAC, WMA, AMR, ...), through PyAV or an `ffmpeg` program.

The container is recognised by its first bytes and named to FFmpeg, which then neither guesses nor takes a playlist:
those can name files and addresses that it would open.
"""

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from speechrnn.containers import Splice, cut_off
from speechrnn.errors import AudioError, first_line

SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".aac", ".amr", ".ape", ".asf", ".avi", ".awb", ".flv", ".m2ts", ".m4a", ".m4b"),
        *(".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".spx", ".tta", ".weba", ".webm"),
        *(".wma", ".wmv", ".wv"),
    }
)
HOW_TO_READ = 'install ffmpeg, or speechrnn with its extra "media"'
HEAD = 400  # bytes by which the container is recognised: two packets of an MPEG transport stream
NOT_THE_NETWORK = "file,pipe"
COPIED_AT_ONCE = 1 << 20  # bytes
READABLE_CAF = (b"lpcm", b"alaw", b"ulaw", b"alac")  # by libsndfile


class Container(NamedTuple):
    """A container that needs FFmpeg: what FFmpeg calls it, and what messages do."""

    demuxer: str
    title: str


class Decoder(Protocol):
    """What `audio` reads from: a sound at its own rate, with all its channels."""

    samplerate: int
    channels: int
    frames: int

    def read(self, frames: int) -> np.ndarray:
        """At most so many frames [frames, channels], float32; fewer at the end."""

    def close(self) -> None: ...


BY_MAGIC = {
    b"\x1a\x45\xdf\xa3": Container("matroska", "WebM or Matroska"),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": Container("asf", "WMA"),
    b"#!AMR": Container("amr", "AMR"),
    b"FLV\x01": Container("flv", "FLV"),
    b"wvpk": Container("wv", "WavPack"),
    b"MAC ": Container("ape", "Monkey's Audio"),
    b"TTA1": Container("tta", "TTA"),
    b"\0\0\1\xba": Container("mpeg", "MPEG"),
}
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def container(sound: Splice) -> Container | None:
    """Which of the containers that need FFmpeg this is; None if it's none of them."""
    sound.seek(0)
    head = sound.read(HEAD)
    for magic, found in BY_MAGIC.items():
        if head.startswith(magic):
            return found
    if head[4:8] in MP4_BOXES:
        return Container("mov", "MP4")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Container("avi", "AVI")
    if head[:4] == b"caff" and head[28:32] not in READABLE_CAF:
        return Container("caf", "CAF")
    if head[:4] == b"OggS" and head[28:36] == b"Speex   ":
        return Container("ogg", "Speex")
    if len(head) > 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13:
        return Container("aac", "AAC")  # ADTS
    if any(head[first : first + 2 * step + 1 : step] == b"GGG" for first, step in ((0, 188), (4, 192))):
        return Container("mpegts", "MPEG")
    return None


def available() -> bool:
    """Whether PyAV or an `ffmpeg` program is installed."""
    import importlib.util  # here and below, because most sound needs none of this, and a command should start fast
    import shutil

    return importlib.util.find_spec("av") is not None or shutil.which("ffmpeg") is not None


@contextlib.contextmanager
def decoder(sound: Splice, found: Container, name: str) -> Iterator[Decoder]:
    """Open a sound that needs FFmpeg.

    Parameters
    ----------
    sound : Splice
        the file
    found : Container
        what it is
    name : str
        what messages call it

    Raises
    ------
    speechrnn.errors.AudioError
        if neither PyAV nor ffmpeg is installed, the file has no sound track, is damaged, or cut off as far as its
        container lets one tell
    """
    missing = MISSING.get(found.demuxer, lambda sound: 0)(sound)
    if missing > 0:
        raise cut_off(name, missing)
    sound.seek(0)
    with contextlib.ExitStack() as stack:
        try:
            import av  # noqa: F401 - whether it is there and can be loaded
        except ImportError:
            import shutil

            program = shutil.which("ffmpeg")
            if program is None:
                raise AudioError(f"{name}: is {found.title}, which needs PyAV or ffmpeg: {HOW_TO_READ}") from None
            opened: _Program | _PyAV = _Program(program, _path(sound, stack), found.demuxer, name)
        else:
            opened = _PyAV(sound, found.demuxer, name)
        stack.callback(opened.close)
        yield opened


class _PyAV:
    """Frames of the first sound track, decoded in this process."""

    def __init__(self, sound: Splice, demuxer: str, name: str) -> None:
        import av

        self._name = name
        self.frames = 1 << 62  # not known beforehand
        self._kept = np.zeros((0, 1), np.float32)
        self._position = 0
        try:
            options = {"protocol_whitelist": NOT_THE_NETWORK}
            # Not as `options`: with those PyAV up to 16 crashes where streams are found later, as in FLV and MPEG.
            self._container = av.open(sound, "r", format=demuxer, container_options=options, metadata_errors="ignore")
        except (av.FFmpegError, ValueError) as error:  # ValueError: a demuxer that this FFmpeg lacks
            raise AudioError(
                f"{name}: can't be read as sound ({_message(error)}): convert it to WAV or FLAC, or get a whole copy"
            ) from error
        try:
            if not self._container.streams.audio:
                raise AudioError(f"{name}: has no sound track: record or copy it again")
            self._packets = self._container.demux(self._container.streams.audio[0])
            self._resampler: av.AudioResampler | None = None
            self.samplerate, self.channels = 0, 1
            self._decoded = self._decode()
            self._kept = next(self._decoded, self._kept)
            if self.samplerate == 0:
                raise AudioError(f"{name}: holds no sound (0 frames): record or copy it again")
        except AudioError:
            self.close()
            raise

    def read(self, frames: int) -> np.ndarray:
        pieces = [self._kept]
        count = len(self._kept)
        while count < frames and (piece := next(self._decoded, None)) is not None:
            pieces.append(piece)
            count += len(piece)
        whole = np.concatenate(pieces)
        self._kept = whole[frames:]
        return whole[:frames]

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[np.ndarray]:
        import av

        try:
            for packet in self._packets:
                if packet.is_corrupt:
                    raise AudioError(f"{self._name}: is damaged or cut off {self._where()}: get a whole copy")
                for frame in packet.decode():
                    if self._resampler is None:
                        self.samplerate, self.channels = frame.sample_rate, len(frame.layout.channels)
                        self._resampler = av.AudioResampler("flt", frame.layout, frame.sample_rate)
                    for converted in self._resampler.resample(frame):
                        samples = converted.to_ndarray().reshape(-1, len(converted.layout.channels))
                        self._position += len(samples)
                        yield samples
        except AudioError:
            raise
        except (av.FFmpegError, ValueError) as error:  # ValueError: the rate or the channels change
            raise AudioError(
                f"{self._name}: is damaged or cut off {self._where()} ({_message(error)}): get a whole copy"
            ) from error

    def _where(self) -> str:
        return f"after {self._position / (self.samplerate or 1):.2f} s"


class _Program:
    """What an `ffmpeg` program decodes, as it comes out of a pipe: an AU file of 32-bit floats."""

    def __init__(self, program: str, path: str, demuxer: str, name: str) -> None:
        import subprocess
        import tempfile

        self._name = name
        self.frames = 1 << 62  # not known beforehand
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this
        self._source = f"file:{path}"
        source = ["-protocol_whitelist", NOT_THE_NETWORK, "-f", demuxer, "-i", self._source]
        output = ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        command = [program, "-nostdin", "-hide_banner", "-v", "error", "-xerror", *source, *output]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._complaints
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        header = self._pipe.read(24)
        if len(header) < 24:
            reason = self._end()
            self.close()
            problem = "has no sound track" if "matches no streams" in reason else f"can't be read as sound ({reason})"
            raise AudioError(f"{name}: {problem}: convert it to WAV or FLAC, or get a whole copy")
        _, offset, _, _, self.samplerate, self.channels = struct.unpack(">4s5I", header)
        self._pipe.read(offset - 24)
        self._position = 0

    def read(self, frames: int) -> np.ndarray:
        width = 4 * self.channels
        data = self._pipe.read(frames * width)
        samples = np.frombuffer(data[: len(data) // width * width], ">f4").astype(np.float32)
        self._position += len(samples) // self.channels
        if len(data) < frames * width and (reason := self._end()):
            raise AudioError(
                f"{self._name}: is damaged or cut off after {self._position / self.samplerate:.2f} s ({reason}):"
                " get a whole copy"
            )
        return samples.reshape(-1, self.channels)

    def close(self) -> None:
        self._process.kill()  # it may be in the middle of the file
        self._pipe.close()
        self._process.wait()
        self._complaints.close()

    def _end(self) -> str:
        """Wait for its end; what it complained about, or nothing."""
        failed = self._process.wait() != 0
        self._complaints.seek(0)
        lines = self._complaints.read(10_000).decode(errors="replace").splitlines()
        if not lines:
            return "ffmpeg failed" if failed else ""
        import re

        complaint = "".join(c for c in lines[0] if c.isprintable()).removeprefix(f"{self._source}: ")
        return re.sub(r"^\[.*? @ \w+\] ", "", complaint)[:200]


def _path(sound: Splice, stack: contextlib.ExitStack) -> str:
    """A path that `ffmpeg` can open: the file's own, or a copy's that lasts as long as `stack`."""
    if sound.path is not None:
        return sound.path
    import shutil
    import tempfile

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="speechrnn-"))
    path = os.path.join(folder, "sound")
    with open(path, "wb") as copy:
        shutil.copyfileobj(sound, copy, COPIED_AT_ONCE)
    return path


def _message(error: Exception) -> str:
    return first_line(error).removeprefix("[Errno ").partition("] ")[2] or first_line(error)


# How many bytes a container promises that the file lacks


def _mp4_missing(sound: Splice) -> int:
    place = 0
    while place + 8 <= sound.size:
        sound.seek(place)
        length = int.from_bytes(sound.read(4), "big")
        if length == 1:  # 64 bits, behind the type
            length = int.from_bytes(sound.read(12)[4:], "big")
        elif length == 0:  # to the end
            return 0
        if length < 8:
            return 0
        place += length
    return place - sound.size


def _matroska_missing(sound: Splice) -> int:
    """Elements (RFC 8794): an identifier and a size, each as long as its first bits say, and what is in them."""
    place = 0
    while place < sound.size:
        sound.seek(place)
        head = sound.read(12)
        id_length = 9 - head[0].bit_length()
        width = 9 - head[id_length].bit_length() if id_length < len(head) else 9
        if id_length > 4 or width > 8:
            return 0
        size = int.from_bytes(head[id_length : id_length + width], "big") & ((1 << 7 * width) - 1)
        place += id_length + width
        if size != (1 << 7 * width) - 1:  # all ones: not known, as in a live recording; what is in it follows
            place += size
    return place - sound.size


def _asf_missing(sound: Splice) -> int:
    place = 0
    while place + 24 <= sound.size:
        sound.seek(place + 16)
        length = int.from_bytes(sound.read(8), "little")
        if length < 24:
            return 0
        place += length
    return place - sound.size


def _avi_missing(sound: Splice) -> int:
    sound.seek(4)
    return 8 + int.from_bytes(sound.read(4), "little") - sound.size


MISSING: dict[str, Callable[[Splice], int]] = {
    "mov": _mp4_missing,
    "matroska": _matroska_missing,
    "asf": _asf_missing,
    "avi": _avi_missing,
}
