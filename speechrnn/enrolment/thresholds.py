"""From which logit on a head may fire, for so many false accepts an hour.

The loudest seconds of sound without the word tell more than counting: how often a logit is exceeded falls off like an
exponential function far out, so a rate that is rarer than the sound is long can be read from its slope. A few minutes
give a poor slope; most of it is that of the average word, 1.1 standard deviations of the logit over all negatives.

Each kind of sound has a tail of its own, and the median over kinds is taken: one kind that happens to hold words like
this one says little about others. Over 24 heads that came closer to the logit that held-out speech asked for (standard
deviation 1.2 deviations, correlation 0.7) than the tail of all sound together (1.9, 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TAIL_PEAKS = 40  # the highest seconds, from which the slope is taken
DEVIATIONS, OWN_SHARE = 1.1, 0.3  # the slope of the average word, and how much a word's own counts
MARGIN = 0.7  # of the rate asked for: kinds of sound that the pack lacks are harder than those that it has


@dataclass(frozen=True)
class Tail:
    """False accepts an hour above a logit: rate * exp(-(logit - start) / slope)."""

    start: float
    slope: float
    rate: float

    def logit(self, per_hour: float) -> float:
        """From which logit on there are so many false accepts an hour."""
        return self.start + self.slope * float(np.log(self.rate / per_hour))

    def per_hour(self, logit: float) -> float:
        return self.rate * float(np.exp(-(logit - self.start) / self.slope))


def peaks(smoothed: np.ndarray, blocks_per_second: int = 50) -> np.ndarray:
    """The highest of each second of smoothed logits [blocks, heads]: [seconds, heads]."""
    seconds = max(1, len(smoothed) // blocks_per_second)
    whole = smoothed[: seconds * blocks_per_second]
    return whole.reshape(seconds, -1, smoothed.shape[1]).max(axis=1)


def tail(highest: np.ndarray, deviation: float) -> Tail:
    """Of the peaks [seconds] of sound without the word; `deviation` is the standard deviation of the logit there."""
    ordered = np.sort(highest)[::-1]
    count = max(1, min(TAIL_PEAKS, len(ordered) // 20))
    start = float(ordered[min(count, len(ordered) - 1)])
    slope = OWN_SHARE * float((ordered[:count] - start).mean()) + (1.0 - OWN_SHARE) * DEVIATIONS * deviation
    return Tail(start, slope, count * 3600.0 / len(ordered))


@dataclass(frozen=True)
class Tails:
    """Those of several kinds of sound, and of the user's own, which must be quiet by itself."""

    kinds: Sequence[Tail]
    own: Tail | None = None

    def logit(self, per_hour: float) -> float:
        """From which logit on there are so many false accepts an hour in sound of yet another kind."""
        logit = float(np.median([each.logit(MARGIN * per_hour) for each in self.kinds]))
        return logit if self.own is None else max(logit, self.own.logit(per_hour))

    @property
    def slope(self) -> float:
        return float(np.median([each.slope for each in self.kinds]))
