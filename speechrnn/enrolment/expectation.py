"""How many of the words will be detected, from takes that each were held out of the fit once."""

from dataclasses import dataclass

import numpy as np

PRIOR_DETECTED, PRIOR_MISSED = 1.5, 0.5  # before anything is known, three of four words are detected
COVERAGE = 0.9  # of the interval


@dataclass(frozen=True)
class Estimate:
    """A share of words, and the interval in which it lies nine times in ten."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


def estimate(detected: float, count: int) -> Estimate:
    """From `detected` of `count` held-out takes: mean and quantiles of the Beta distribution of the share.

    Where all or none were detected, the interval reaches to the end.
    """
    share, low, high = beta(detected + PRIOR_DETECTED, count - detected + PRIOR_MISSED, COVERAGE)
    return Estimate(share, 0.0 if detected == 0 else low, 1.0 if detected == count else high)


def beta(a: float, b: float, coverage: float) -> tuple[float, float, float]:
    """Mean and the limits of the central interval of a Beta distribution, to a thousandth.

    Examples
    --------
    >>> [round(value, 2) for value in beta(1.0, 1.0, 0.9)]
    [0.5, 0.05, 0.95]
    """
    # Fine towards both ends, where the density may have no bound.
    grid = (1.0 - np.cos(np.linspace(0.0, np.pi, 20_001))) / 2.0
    middle = (grid[1:] + grid[:-1]) / 2.0
    logarithm = (a - 1.0) * np.log(middle) + (b - 1.0) * np.log1p(-middle) + np.log(np.diff(grid))
    weight = np.exp(logarithm - logarithm.max())
    cumulative = np.cumsum(weight) / weight.sum()
    tail = (1.0 - coverage) / 2.0
    low, high = (float(np.interp(q, cumulative, middle)) for q in (tail, 1.0 - tail))
    return a / (a + b), low, high
