"""The weights of a head, in closed form (linear discriminant analysis).

Features x of a block are the states there and some delays before. With mean m0 and covariance S of the negatives, and
mean m of the blocks after the word's end over all takes, the direction that tells them apart is S^-1 (m - m0). S is
known from hours of sound beforehand, and so are the ways in which people differ when they say the same word, which are
added to it: a handful of takes need only say where their mean lies. On words that the network had never met, 5 takes
gave 94.7 % at 0.5 false accepts an hour over 7 h, a logistic regression on the same blocks 83.5 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechrnn.enrolment.head import DELAYS

SHRINKAGE = 0.03  # of the mean variance, added to each feature's own
FIRST, SPAN = 0, 15  # blocks after the word's end that are positive


@dataclass(frozen=True)
class Moments:
    """Mean [features] and covariance [features, features] of what a head must not fire on."""

    mean: np.ndarray
    covariance: np.ndarray

    def with_more(self, features: np.ndarray, share: float) -> "Moments":
        """The same with further negatives [blocks, features], which make up a `share` of the covariance."""
        if not len(features):
            return self
        centred = features - self.mean
        more = centred.T @ centred / len(centred)
        return Moments(self.mean, (1.0 - share) * self.covariance + share * more)

    def directions(self, means: np.ndarray) -> np.ndarray:
        """Weights [heads, features] for the positives' means [heads, features]."""
        size = len(self.mean)
        damped = self.covariance.astype(np.float64)
        damped[np.diag_indices(size)] += SHRINKAGE * np.trace(damped) / size
        return np.linalg.solve(damped, (means - self.mean).T.astype(np.float64)).T.astype(np.float32)

    def deviations(self, weights: np.ndarray) -> np.ndarray:
        """Standard deviations [heads] of the logits for weights [heads, features]."""
        return np.sqrt(np.einsum("hi,hi->h", weights @ self.covariance, weights))


def features(states: np.ndarray, blocks: np.ndarray, delays: Sequence[int] = DELAYS) -> np.ndarray:
    """States [time, units] -> features [len(blocks), delays * units]; before the start of the sound states are 0."""
    units = states.shape[1]
    made = np.zeros((len(blocks), len(delays) * units), np.float32)
    for k, delay in enumerate(delays):
        there = blocks >= delay
        made[there, k * units : (k + 1) * units] = states[blocks[there] - delay]
    return made


class Accumulator:
    """Sums up the moments of features, kind by kind; each kind counts the same, however long it is."""

    def __init__(self) -> None:
        self.means: list[np.ndarray] = []
        self.squares: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Features [blocks, features] of one kind of sound."""
        self.means.append(rows.mean(axis=0))
        self.squares.append(rows.T @ rows / len(rows))

    def moments(self, within_words: np.ndarray | None = None) -> Moments:
        """Of all kinds together; the covariance within words [features, features] makes up half if it is given."""
        mean = np.mean(self.means, axis=0)
        covariance = np.mean(self.squares, axis=0) - np.outer(mean, mean)
        if within_words is not None:
            covariance = (covariance + within_words) / 2.0
        return Moments(mean.astype(np.float32), covariance.astype(np.float32))


def within_words(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Covariance [features, features] around the mean of each group [clips, features] of one word by many speakers."""
    rest = np.concatenate([group - group.mean(axis=0) for group in groups])
    return rest.T @ rest / len(rest)
