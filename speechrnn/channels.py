"""The channel of a sound that is used: one of them, their mean, or the loudest at each time."""

import math
import warnings
from typing import Literal

import numpy as np

from speechrnn.errors import AudioError, InputError, SoundWarning

Channel = int | str | Literal["mean", "loudest"]

WINDOW_SECONDS = 0.02  # energies are measured over so much sound at a time, counted from its beginning
MEMORY_SECONDS = 0.25  # and forgotten with this time constant: after a pause another may speak
LOUDER = 2.0  # power, 3 dB: so much more than the channel that is taken must another have
CANCELLED = 0.1  # power, of what the mean of channels that have nothing to do with each other would have
AUDIBLE = 1e-6  # power, -60 dBFS: below that channels may cancel as they like
OPPOSITE_PHASE = "its channels cancel each other when they are averaged (opposite phase): take one, with --channel 1"
WINDOWS = 10  # audible ones in which channels cancel, until it is believed, and as many until it isn't any more


def parse(channel: Channel) -> Channel:
    """A channel as the user gave it: its number, which counts from 1, or "mean", or "loudest".

    Raises
    ------
    speechrnn.errors.InputError
        if it is something else
    """
    if channel in ("mean", "loudest"):
        return channel
    text = str(channel)
    if isinstance(channel, bool) or not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) > 0):
        raise InputError(f"--channel {channel}: give a number, from 1 on, or mean, or loudest")
    return int(text)


class Mixer:
    """Mixes frames of several channels to mono; any number at a time, with the same result however they are cut.

    `loudest` compares the channels over windows of 20 ms, counted from the beginning of the sound: what is taken in a
    window depends on the windows before it alone, whose energies are added up and fade with a time constant of a
    quarter of a second. It changes to a channel that is 3 dB louder than the one before, blending over one window. The
    energy is that of the sound without its offset. The first window, of which nothing is known, is the mean.

    Averaging (`mean`) channels of opposite phase leaves next to nothing: `cancels` is true while it does, and a
    `SoundWarning` is given once.

    Parameters
    ----------
    channel : int from 1, "mean" or "loudest"
    count : how many channels there are
    rate : their rate in Hz
    name : what messages call the sound

    Raises
    ------
    speechrnn.errors.InputError
        if there is no such channel
    """

    def __init__(self, channel: Channel, count: int, rate: int, name: str) -> None:
        self.channel, self._count, self._name = parse(channel), count, name
        if isinstance(self.channel, int) and self.channel > count:
            there = "1 channel" if count == 1 else f"{count} channels"
            raise AudioError(f"{name}: has {there}, so --channel {channel} is none: give 1 to {count}, mean or loudest")
        self.cancels = False
        self._window = max(1, round(WINDOW_SECONDS * rate))
        self._decay = math.exp(-WINDOW_SECONDS / MEMORY_SECONDS)
        self._rest = np.zeros((0, count), np.float32)  # of the window that isn't complete
        self._powers = np.zeros(count)  # of each channel; they fade
        self._mean_power, self._channel_power = 0.0, 0.0  # of the mean of all channels, and the channels' on average
        self._evidence = 0  # windows that cancelled, less those that didn't
        self._taken: int | None = None  # None: the mean
        self._before: int | None = None  # what was taken in the last window, and fades out in this
        self._warned = False

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """The next frames, float32 [frames, channels], as mono [frames]."""
        if self._count == 1:
            return frames[:, 0]
        if isinstance(self.channel, int):
            return np.ascontiguousarray(frames[:, self.channel - 1])
        filled, sound = len(self._rest), np.concatenate([self._rest, frames])
        whole = len(sound) // self._window
        windows = sound[: whole * self._window].reshape(whole, self._window, self._count)
        self._rest = sound[whole * self._window :].copy()
        with np.errstate(over="ignore", invalid="ignore"):  # NaN is refused by whoever reads the sound
            if self.channel == "mean":
                self._compare(windows)
                return frames.mean(axis=1)
            return self._follow(windows, sound)[filled:]

    def _follow(self, windows: np.ndarray, sound: np.ndarray) -> np.ndarray:
        """`sound` [frames, channels], which begins with a window, as mono."""
        mixed = []
        for window, power in zip(windows, windows.var(axis=1, dtype=np.float64), strict=True):
            mixed.append(self._mixed(window))
            self._powers = self._decay * self._powers + power
            self._before, loudest = self._taken, int(self._powers.argmax())
            known = 0.0 if self._taken is None else LOUDER * self._powers[self._taken]
            if self._powers[loudest] > known:
                self._taken = loudest
        return np.concatenate([*mixed, self._mixed(sound[len(windows) * self._window :])])

    def _mixed(self, frames: np.ndarray) -> np.ndarray:
        """Frames from the beginning of a window on, of no more than that."""
        now = self._taking(frames, self._taken)
        if self._taken == self._before:
            return now
        share = np.arange(len(frames), dtype=np.float32) / np.float32(self._window)
        return share * now + (1 - share) * self._taking(frames, self._before)

    @staticmethod
    def _taking(frames: np.ndarray, channel: int | None) -> np.ndarray:
        return frames.mean(axis=1) if channel is None else frames[:, channel]

    def _compare(self, windows: np.ndarray) -> None:
        """See whether the mean has far less than what the channels have."""
        each = windows.var(axis=1, dtype=np.float64).mean(axis=1)
        mean = windows.mean(axis=2, dtype=np.float64).var(axis=1)
        for channel_power, mean_power in zip(each.tolist(), mean.tolist(), strict=True):
            self._channel_power = self._decay * self._channel_power + channel_power
            self._mean_power = self._decay * self._mean_power + mean_power
            if channel_power < AUDIBLE:
                continue
            cancelled = self._mean_power < CANCELLED * self._channel_power / self._count
            self._evidence = min(max(self._evidence + (1 if cancelled else -1), 0), WINDOWS)
            self.cancels = self._evidence == WINDOWS or (self.cancels and self._evidence > 0)
        if self.cancels and not self._warned:
            self._warned = True
            warnings.warn(f"{self._name}: {OPPOSITE_PHASE}", SoundWarning, stacklevel=2)
