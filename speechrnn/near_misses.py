"""Words that came close to their thresholds and were not detected."""

from dataclasses import dataclass

import numpy as np

NEAR = 0.7  # share of its threshold from which a word is close
GONE = 0.5  # share of it below which the word is over


@dataclass(frozen=True)
class NearMiss:
    """A word that came close to its threshold and was not detected."""

    label: str
    time: float  # seconds from the start of the stream to the end of the block of the peak
    peak: float  # the highest smoothed posterior
    threshold: float  # what it would have needed


class NearMisses:
    """Follows the smoothed posteriors of all words, block by block, and returns near misses when they are over.

    A near miss is a word that could have been detected and rose to `NEAR` times its threshold, but fell below `GONE`
    times it again without a detection of any word in between. In the refractory time no word can be detected, and a
    word that was high at a detection must be over before it counts again.

    Parameters
    ----------
    thresholds : array [words]
    """

    def __init__(self, thresholds: np.ndarray) -> None:
        self.near, self._gone = NEAR * thresholds, GONE * thresholds
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._peaks = np.zeros(len(self.near))  # of words that are close; 0 for the others
        self._blocks = np.zeros(len(self.near), np.int64)  # where the peaks were
        self._spent = np.zeros(len(self.near), bool)  # high at a detection, and not over yet
        self.idle = True  # nothing is close or spent: a block without a word that is `near` needs no work

    def detected(self, row: np.ndarray) -> None:
        """A word was detected in the block with these smoothed posteriors [words]."""
        self._peaks[:] = 0.0
        self._spent = row >= self._gone
        self.idle = False

    def follow(self, row: np.ndarray, able: np.ndarray, block: int) -> list[tuple[int, int, float]]:
        """Word, block and peak of each near miss that is over in the next block, in which nothing was detected.

        Parameters
        ----------
        row : array [words]
            smoothed posteriors
        able : bool array [words]
            the words that could have been detected, had they reached their thresholds
        block : its number
        """
        higher = able & ~self._spent & (row >= self.near) & (row > self._peaks)
        self._peaks[higher], self._blocks[higher] = row[higher], block
        return self._end(row < self._gone)

    def finish(self) -> list[tuple[int, int, float]]:
        """The sound has ended: near misses that were not over yet."""
        return self._end(np.ones(len(self.near), bool))

    def _end(self, over: np.ndarray) -> list[tuple[int, int, float]]:
        words = np.flatnonzero(over & (self._peaks > 0.0))
        missed = [(int(word), int(self._blocks[word]), float(self._peaks[word])) for word in words]
        self._peaks[over] = 0.0
        self._spent &= ~over
        self.idle = not (self._peaks.any() or self._spent.any())
        return missed
