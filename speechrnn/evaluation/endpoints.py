"""The endpoints of a word in a clip, by energy. Training, `make_stream` and tests use this one rule.

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
# A further take is about as loud as the loudest, and longer than a click; in mere noise nothing stands out.
TAKE_STANDS_OUT_DB, TAKE_BELOW_LOUDEST_DB = 15.0, 15.0
SHORTEST_TAKE = 10  # frames


def word_endpoints(sound: np.ndarray) -> tuple[float, float]:
    """Start and end of the word, in seconds from the start of the sound [samples] at 16 kHz."""
    level, _, stretches = loud_stretches(sound)
    peak = int(level.argmax())
    word = next(stretch for stretch in stretches if stretch[0] <= peak <= stretch[-1])
    return word[0] * FRAME / SAMPLE_RATE, (word[-1] + 1) * FRAME / SAMPLE_RATE


def takes(sound: np.ndarray) -> int:
    """How many stretches of speech there are in a sound [samples] at 16 kHz, about; 1 where nothing stands out."""
    if len(sound) < SHORTEST_TAKE * FRAME:
        return 1
    level, floor, stretches = loud_stretches(sound)
    if level.max() - floor < TAKE_STANDS_OUT_DB:
        return 1
    loud = (level[stretch].max() > level.max() - TAKE_BELOW_LOUDEST_DB for stretch in stretches)
    long = (len(stretch) >= SHORTEST_TAKE for stretch in stretches)
    return max(1, sum(a and b for a, b in zip(loud, long, strict=True)))


def loud_stretches(
    sound: np.ndarray, *, floor_quantile: float = FLOOR_QUANTILE, longest_pause: int = LONGEST_PAUSE
) -> tuple[np.ndarray, float, list[np.ndarray]]:
    """The level of each frame of 10 ms in dB, the floor, and the frames of each stretch above the threshold.

    `floor_quantile` of the frames lie below the floor; pauses of at most `longest_pause` frames don't part a stretch.
    """
    frames = len(sound) // FRAME
    power = np.square(sound[: frames * FRAME], dtype=np.float64).reshape(frames, FRAME).mean(axis=1)
    level = 10.0 * np.log10(np.convolve(power, np.ones(3) / 3.0, mode="same") + 1e-10)
    floor = float(np.quantile(level, floor_quantile))
    loud = np.flatnonzero(level >= floor + THRESHOLD * (level.max() - floor))
    return level, floor, np.split(loud, np.flatnonzero(np.diff(loud) > longest_pause + 1) + 1)


def loudest(sound: np.ndarray, length: int) -> np.ndarray:
    """The stretch with the most energy [length] of a sound [samples] that is at least as long."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return sound[start : start + length]
