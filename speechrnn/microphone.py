"""A microphone as an iterator of float32 mono at 16 kHz, whatever its rate, also after the device was away.

    spotter = speechrnn.Spotter(speechrnn.load())
    with Microphone() as microphone:
        for samples in microphone:
            for detection in spotter.process(samples):
                print(detection.label)

In an asyncio program, `async for detection in spotter.detections(microphone)` does the same.
"""

import contextlib
import os
import queue
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from speechrnn.audio import SAMPLE_RATE, resampler
from speechrnn.channels import OPPOSITE_PHASE, Channel, Mixer, parse
from speechrnn.devices import Device, Identity, choose
from speechrnn.errors import AudioError, MicrophoneError, SoundWarning
from speechrnn.level import dbfs, rms
from speechrnn.text import printable

BLOCK_SECONDS = 0.1  # sound handed over at a time: every one wakes the process, which costs more than the network
QUEUE_SECONDS = 5.0  # sound kept while the machine is busy; what comes on top is dropped, and counted
WAIT_SECONDS = 0.5  # longest wait for a block
LOST_SECONDS = 2.0  # without a block, the device is gone; a busy machine may be late by less
EQUALS_SECONDS = 10.0  # one of several inputs of the same name is waited for, until another is taken for it
MOST_CHANNELS = 16  # of a real device; sound servers claim more than there are
START_SECONDS = 4.0  # the same for a device just opened: Bluetooth takes its time
QUIET_DBFS = -50.0  # peak
CLIPPED_SHARE = 0.001

NOTHING = np.zeros(0, np.float32)


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


def measure(samples: np.ndarray) -> Level:
    """The level of a sound, float [samples], of at least one sample."""
    magnitude = np.abs(samples)
    return Level(
        rms=dbfs(rms(samples)),
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


class Microphone:
    """A microphone that is listened to: a context manager, and an iterator over its sound.

    Iteration gives pieces of float32 mono 16 kHz [samples]; an empty one when nothing came for a while. When the
    device is gone, `lost` is true until it is back; every loss is counted in `losses`, and sound after one has
    nothing to do with sound before it. What was thrown away because nobody took it is counted in `dropped`.

    Parameters
    ----------
    device : part of a name, number, or None for the default
    channel : int from 1, "mean" or "loudest"
        which channel is taken; see `speechrnn.channels.Mixer`
    every_channel : bool
        open all channels even for their mean, which otherwise is that of the first two where the device allows it

    Raises
    ------
    MicrophoneError
        on entering, if there is no such device or it can't be opened; never after that
    AudioError
        on entering, if it has no such channel
    """

    def __init__(self, device: str | int | None = None, channel: Channel = "mean", every_channel: bool = False) -> None:
        self._wanted, self._channel = device, parse(channel)
        self._every_channel = every_channel or self._channel != "mean"
        self._identity: Identity | None = None
        self._warned = ""  # the last warning on opening it again: each is given once
        self._lost_at = 0.0
        self._stream: Any = None
        self._resample: Any = None
        self._mix: Any = None
        self.device = Device(-1, "", "", SAMPLE_RATE, 0, False)
        self.dropped = 0  # blocks
        self.losses = 0
        self.lost = False

    def __enter__(self) -> "Microphone":
        found = devices()
        device = choose(found, self._wanted)
        self._identity = Identity.of(device, found)
        self._open(device)
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
                frames = np.concatenate(blocks)
                self._squares += np.square(frames, dtype=np.float64).sum(axis=0)
                self._frames += len(frames)
                yield self._resample(self._mix(frames), False)
                continue
            if self._is_gone():
                if not self.lost:
                    self.losses += 1
                    self._lost_at = time.monotonic()
                self.lost = True
                yield NOTHING
                self._close()
                while not self._reopen():
                    yield NOTHING
                    time.sleep(WAIT_SECONDS)
            yield NOTHING

    @property
    def cancels(self) -> bool:
        """Whether its channels are of opposite phase, so that their mean is next to nothing."""
        return self._mix.cancels

    @property
    def channel_levels(self) -> list[float]:
        """The level of each channel since it was opened: RMS in dBFS."""
        return [dbfs(float(np.sqrt(square / max(1, self._frames)))) for square in self._squares]

    def complaint(self, samples: np.ndarray) -> str:
        """What is wrong with `samples` [samples], the latest that were given, and what to do; empty if nothing is."""
        return OPPOSITE_PHASE if self.cancels else measure(samples).complaint

    def _open(self, device: Device) -> None:
        sounddevice = _library()
        self.device = device
        problem: Exception | None = None
        for channels in self._channel_counts(device):
            blocks: queue.Queue[np.ndarray] = queue.Queue(round(QUEUE_SECONDS / BLOCK_SECONDS))
            with quiet_library():
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
                    opened = channels
                    break
                except sounddevice.PortAudioError as error:
                    self._close()
                    problem = error
        else:
            raise MicrophoneError(f"{device.name}: can't be opened ({problem}): is another program using it?")
        try:
            self._mix = Mixer(self._channel, opened, device.rate, device.name)
        except AudioError:
            self._close()
            raise
        self._blocks = blocks
        self._resample = resampler(device.rate)
        self._squares, self._frames = np.zeros(opened), 0
        self._patience, self._last = START_SECONDS, time.monotonic()

    def _channel_counts(self, device: Device) -> list[int]:
        """How many channels to try to open; some devices open with all or not at all."""
        few, named = min(2, device.channels), self._channel if isinstance(self._channel, int) else 1
        first = device.channels if self._every_channel and device.channels <= MOST_CHANNELS else max(few, named)
        counts = [count for count in (first, few, 1, device.channels) if named <= count <= device.channels]
        return list(dict.fromkeys(counts)) or [device.channels]

    def _callback(self, blocks: "queue.Queue[np.ndarray]") -> Callable[..., None]:
        def copy(sound: np.ndarray, frames: int, when: Any, status: Any) -> None:
            self.dropped += bool(status.input_overflow)
            try:
                blocks.put_nowait(sound.copy())
            except queue.Full:
                self.dropped += 1

        return copy

    def _take(self) -> list[np.ndarray]:
        """All blocks [frames, channels] that are there; waits for the first, but not for ever."""
        blocks = []
        with contextlib.suppress(queue.Empty):
            blocks.append(self._blocks.get(timeout=WAIT_SECONDS))
            self._patience, self._last = LOST_SECONDS, time.monotonic()
            while True:
                blocks.append(self._blocks.get_nowait())
        return blocks

    def _is_gone(self) -> bool:
        return not self._stream.active or time.monotonic() - self._last > self._patience

    def _reopen(self) -> bool:
        """Look again which devices there are: PortAudio makes its list once, when it starts."""
        sounddevice = _library()
        try:
            sounddevice._terminate()
            sounddevice._initialize()
            device, doubtful = self._find(devices())
            self._open(device)
        except (MicrophoneError, sounddevice.PortAudioError):
            return False
        except AudioError as error:  # it has no such channel any more
            self._warn(str(error))
            return False
        if doubtful:
            self._warn(
                f"{device.name}: more than one input has that name, and nothing distinguishes them: number "
                f"{device.index} ({device.host_api}) was taken; see speechrnn devices"
            )
        return True

    def _find(self, found: list[Device]) -> tuple[Device, bool]:
        """The device to open again, and whether it may be one of its equals instead."""
        if self._wanted is None:
            return choose(found, None), False
        if not str(self._wanted).isdecimal():
            with contextlib.suppress(MicrophoneError):
                return choose(found, self._wanted), False
        assert self._identity is not None
        waited = time.monotonic() - self._lost_at > EQUALS_SECONDS
        return self._identity.find(found, all_are_there=not waited)

    def _warn(self, message: str) -> None:
        if message != self._warned:
            self._warned = message
            warnings.warn(message, SoundWarning, stacklevel=2)

    def _close(self) -> None:
        if self._stream is not None:
            with quiet_library():
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
def quiet_library() -> Iterator[None]:
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
