"""A microphone flows in, at whatever rate it has; float32 mono at 16 kHz flows out, also after the device was away."""

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from speechrnn.audio import SAMPLE_RATE, resampler
from speechrnn.errors import MicrophoneError
from speechrnn.text import printable

BLOCK_SECONDS = 0.1  # sound handed over at a time: every one wakes the process, which costs more than hearing it
QUEUE_SECONDS = 5.0  # sound kept while the machine is busy; what comes on top is dropped, and counted
WAIT_SECONDS = 0.5  # sleep of a listener to whom nothing comes
LOST_SECONDS = 2.0  # without a block, the device is gone; a busy machine may be late by less
START_SECONDS = 4.0  # the same for a device just opened: Bluetooth takes its time
FLOOR_DBFS = -120.0  # what digital silence is called
QUIET_DBFS = -50.0  # peak
CLIPPED_SHARE = 0.001

NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Device:
    """A microphone, or another input."""

    index: int
    name: str
    host_api: str
    rate: int  # Hz, its own
    channels: int
    default: bool


@dataclass(frozen=True)
class Level:
    """How loud a sound is, and what is wrong with it."""

    rms: float  # dBFS; a full-scale square wave has 0
    peak: float  # dBFS
    clipped: float  # share of samples at full scale
    offset: float  # mean, full scale 1.0
    zeros: bool  # nothing but exact zeros

    @property
    def complaint(self) -> str:
        """What is wrong and what to do about it; empty if nothing is."""
        if self.zeros:
            return "silent, exact zeros: it is muted, or this program has no permission to listen"
        if self.clipped > CLIPPED_SHARE:
            return "clipped: turn the input level down, or move away"
        if self.peak < QUIET_DBFS:
            return "too quiet: turn the input level up, or come closer"
        return ""


def dbfs(amplitude: float) -> float:
    """An amplitude, full scale 1.0, in decibels."""
    return max(FLOOR_DBFS, 20.0 * float(np.log10(max(amplitude, 1e-12))))


def measure(samples: np.ndarray) -> Level:
    """The level of a sound, float [samples], of at least one sample."""
    magnitude = np.abs(samples)
    return Level(
        rms=dbfs(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))),
        peak=dbfs(float(magnitude.max())),
        clipped=float(np.mean(magnitude >= 0.99)),  # resampled, a clipped wave ripples around full scale
        offset=float(samples.mean()),
        zeros=not magnitude.any(),
    )


def devices() -> list[Device]:
    """Every input there is, as PortAudio numbers them.

    Raises
    ------
    MicrophoneError
        if the PortAudio library is missing
    """
    sounddevice = _library()
    apis = [api["name"] for api in sounddevice.query_hostapis()]
    default = sounddevice.default.device[0]
    return [
        Device(
            index=found["index"],
            name=printable(" ".join(found["name"].split())),
            host_api=apis[found["hostapi"]],
            rate=round(found["default_samplerate"]),
            channels=found["max_input_channels"],
            default=found["index"] == default,
        )
        for found in sounddevice.query_devices()
        if found["max_input_channels"] > 0
    ]


def choose(found: list[Device], wanted: str | int | None) -> Device:
    """The device of that number, or with that in its name (in any case); the default one for None.

    Raises
    ------
    MicrophoneError
        if there is no such device, or more than one
    """
    if not found:
        raise MicrophoneError("no microphone found: plug one in, or start the sound server")
    if wanted is None:
        return next((device for device in found if device.default), found[0])
    there = "; ".join(f"{device.index} {device.name}" for device in found)
    if str(wanted).isdecimal():
        matches = [device for device in found if device.index == int(wanted)]
    else:
        part = str(wanted).casefold()
        matches = [device for device in found if part in device.name.casefold()]
        exact = [device for device in matches if part == device.name.casefold()]
        matches = exact if len(exact) == 1 else matches
    if len(matches) != 1:
        which = "more than one input has" if matches else "no input has"
        raise MicrophoneError(f"--device {wanted}: {which} that number or name; there are: {there}")
    return matches[0]


class Microphone:
    """A microphone that is listened to: a context manager, and an iterator over its sound.

    Iteration gives pieces of float32 mono 16 kHz [samples]; an empty one when nothing came for a while. When the
    device is gone, `lost` is true until it is back; every loss is counted in `losses`, and sound after one has
    nothing to do with sound before it. What was thrown away because nobody took it is counted in `dropped`.

    Parameters
    ----------
    device : part of a name, number, or None for the default

    Raises
    ------
    MicrophoneError
        on entering, if there is no such device or it can't be opened; never after that
    """

    def __init__(self, device: str | int | None = None) -> None:
        self._wanted = device
        self._stream: Any = None
        self._resample: Any = None
        self.device = Device(-1, "", "", SAMPLE_RATE, 0, False)
        self.dropped = 0  # blocks
        self.losses = 0
        self.lost = False

    def __enter__(self) -> "Microphone":
        self._open()
        if str(self._wanted).isdecimal():
            self._wanted = self.device.name  # numbers change when devices come and go
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._resample = None  # soxr complains about one that outlives it

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            blocks = self._take()
            if blocks:
                self.lost = False
                yield self._resample(np.concatenate(blocks), False)
                continue
            if self._is_gone():
                self.losses += not self.lost
                self.lost = True
                yield NOTHING
                self._close()
                while not self._reopen():
                    yield NOTHING
                    time.sleep(WAIT_SECONDS)
            yield NOTHING

    def _open(self) -> None:
        sounddevice = _library()
        self.device = device = choose(devices(), self._wanted)
        problem: Exception | None = None
        for channels in dict.fromkeys((1, min(2, device.channels), device.channels)):  # some open with all or not
            blocks: queue.Queue[np.ndarray] = queue.Queue(round(QUEUE_SECONDS / BLOCK_SECONDS))
            with _quiet_library():
                try:
                    self._stream = sounddevice.InputStream(
                        device=device.index,
                        channels=channels,
                        samplerate=device.rate,
                        blocksize=round(BLOCK_SECONDS * device.rate),
                        dtype="float32",
                        callback=self._callback(blocks),
                    )
                    self._stream.start()
                    break
                except sounddevice.PortAudioError as error:
                    self._close()
                    problem = error
        else:
            raise MicrophoneError(f"{device.name}: can't be opened ({problem}): is another program using it?")
        self._blocks = blocks
        self._resample = resampler(device.rate)
        self._patience, self._last = START_SECONDS, time.monotonic()

    def _callback(self, blocks: "queue.Queue[np.ndarray]") -> Callable[..., None]:
        def copy(sound: np.ndarray, frames: int, when: Any, status: Any) -> None:
            self.dropped += bool(status.input_overflow)
            try:
                blocks.put_nowait(sound.copy())
            except queue.Full:
                self.dropped += 1

        return copy

    def _take(self) -> list[np.ndarray]:
        """All blocks that are there, as mono; waits for the first, but not for ever."""
        blocks = []
        with contextlib.suppress(queue.Empty):
            blocks.append(self._blocks.get(timeout=WAIT_SECONDS).mean(axis=1))
            self._patience, self._last = LOST_SECONDS, time.monotonic()
            while True:
                blocks.append(self._blocks.get_nowait().mean(axis=1))
        return blocks

    def _is_gone(self) -> bool:
        return not self._stream.active or time.monotonic() - self._last > self._patience

    def _reopen(self) -> bool:
        """Look again which devices there are: PortAudio makes its list once, when it starts."""
        sounddevice = _library()
        try:
            sounddevice._terminate()
            sounddevice._initialize()
            self._open()
        except (MicrophoneError, sounddevice.PortAudioError):
            return False
        return True

    def _close(self) -> None:
        if self._stream is not None:
            with _quiet_library():
                self._stream.abort(ignore_errors=True)
                self._stream.close(ignore_errors=True)
            self._stream = None


def _library() -> Any:
    try:
        import sounddevice
    except OSError:
        raise MicrophoneError(
            "the PortAudio library is missing: install libportaudio2 (Debian: sudo apt install libportaudio2)"
        ) from None
    return sounddevice


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """ALSA and PortAudio write to stderr, past Python, what they also report as an error."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
