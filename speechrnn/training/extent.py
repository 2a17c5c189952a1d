"""Where a word begins and ends in a clip, by energy. Numpy only: training, `make_stream` and tests use one rule.

The rule: energy of frames of 10 ms, averaged over three, in decibels. The floor is the quietest fifth of the frames,
the peak the loudest one; the threshold lies at 35 % of the way from floor to peak. The word is the stretch of frames
above the threshold around the peak, across pauses of at most 0.2 s (the closure before the last t of "right" is one).
"""

import numpy as np

from speechrnn.audio import SAMPLE_RATE

FRAME = SAMPLE_RATE // 100
LONGEST_PAUSE = 20  # frames
THRESHOLD = 0.35  # of the way from floor to peak, in decibels
FLOOR_QUANTILE = 0.2


def word_extent(sound: np.ndarray) -> tuple[float, float]:
    """Start and end of the word, in seconds from the start of the sound [samples] at 16 kHz."""
    frames = len(sound) // FRAME
    power = np.square(sound[: frames * FRAME], dtype=np.float64).reshape(frames, FRAME).mean(axis=1)
    level = 10.0 * np.log10(np.convolve(power, np.ones(3) / 3.0, mode="same") + 1e-10)
    floor, peak = np.quantile(level, FLOOR_QUANTILE), int(level.argmax())
    loud = np.flatnonzero(level >= floor + THRESHOLD * (level[peak] - floor))
    stretches = np.split(loud, np.flatnonzero(np.diff(loud) > LONGEST_PAUSE + 1) + 1)
    word = next(stretch for stretch in stretches if stretch[0] <= peak <= stretch[-1])
    return word[0] * FRAME / SAMPLE_RATE, (word[-1] + 1) * FRAME / SAMPLE_RATE


def loudest(sound: np.ndarray, length: int) -> np.ndarray:
    """The stretch with the most energy [length] of a sound [samples] that is at least as long."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return sound[start : start + length]
