"""The decision: from posteriors to the label of a clip, or to detections in a stream. There is no other place for it.

It needs the model card alone, so posteriors that are kept can be decided on again without the network.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from speechrnn.card import SILENCE, Card
from speechrnn.errors import InputError
from speechrnn.near_misses import NearMiss, NearMisses


@dataclass(frozen=True)
class Classification:
    """The label of a clip."""

    label: str
    probability: float
    posterior: dict[str, float]  # of every label, most probable first


@dataclass
class Detection:
    """A word that was detected.

    It is handed out in the block in which the word reaches its threshold, while the word often still goes on: the
    posterior there is hardly more than the threshold. `peak` is the highest one. The
    detector that made the detection raises it until the refractory time is over, or the sound; all else stays.
    """

    label: str
    time: float  # seconds from the start of the stream to the end of the block that reached the threshold
    probability: float  # the smoothed posterior of that block
    peak: float = 0.0  # the highest smoothed posterior of the word so far, from that block on

    def __post_init__(self) -> None:
        self.peak = max(self.peak, self.probability)


def smooth(posteriors: np.ndarray, blocks: int) -> np.ndarray:
    """Moving average over time: mean of each row [rows, labels] and the `blocks - 1` before it.

    Returns
    -------
    np.ndarray [shape=(rows - blocks + 1, labels), dtype=float64]
    """
    windows = np.lib.stride_tricks.sliding_window_view(posteriors, blocks, axis=0)
    return windows.mean(axis=-1, dtype=np.float64)


def clearest(posteriors: np.ndarray, labels: Iterable[str], blocks: int) -> np.ndarray:
    """Max-pooling over time: the smoothed row of `posteriors` [rows, labels] where a label other than silence peaks."""
    smoothed = smooth(posteriors, min(blocks, len(posteriors)))
    spoken = [i for i, label in enumerate(labels) if label != SILENCE]
    return smoothed[smoothed[:, spoken].max(axis=1).argmax()]


def classify(card: Card, posteriors: np.ndarray) -> Classification:
    """The label of a clip, from its posteriors [blocks, labels], those of the tail among them.

    It is the most probable label where the smoothed posterior of a label other than silence is highest (`clearest`).
    """
    smoothed = clearest(posteriors, card.labels, card.smoothing_blocks)
    order = np.argsort(-smoothed, kind="stable")
    posterior = {card.labels[i]: float(smoothed[i]) for i in order}
    label = next(iter(posterior))
    return Classification(label, posterior[label], posterior)


class Detector:
    """Detects words in a stream of posteriors, given any number of blocks at a time.

    A word is detected in the block where its smoothed posterior reaches its threshold. It can fire again when the
    posterior has fallen below `hysteresis` times the threshold; for `refractory_seconds` after a detection nothing
    fires. Work and memory per block are constant. Detections don't depend on how the blocks are cut into pieces.

    A detection is returned at once, with the posterior that reached the threshold as its `probability`. Its `peak`, the
    highest posterior within the refractory time, rises meanwhile: it is final once the detection isn't `pending`.
    After each call of `decide` or `end`, `near_misses` has the words that came close and were not detected.

    Parameters
    ----------
    card : Card
        of the model whose posteriors these are
    threshold : number in (0, 1], or None
        for all words, instead of the card's
    thresholds : mapping of word to number in (0, 1]
        for single words; stands above `threshold`
    words : words to find, or None for all
    smoothing_seconds, refractory_seconds, hysteresis : numbers, or None for the card's

    Raises
    ------
    InputError
        if a word isn't one of the model's, or a number is out of its range

    Examples
    --------
    >>> import speechrnn
    >>> from speechrnn.decision import Detector
    >>> model = speechrnn.load()
    >>> posteriors = model.posteriors(model.load_clip("examples/yes.wav"))
    >>> [found.label for found in Detector(model.card, hysteresis=0.9).decide(posteriors)]
    ['yes']
    """

    def __init__(
        self,
        card: Card,
        threshold: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        words: Iterable[str] | None = None,
        smoothing_seconds: float | None = None,
        refractory_seconds: float | None = None,
        hysteresis: float | None = None,
    ) -> None:
        self.card = card.with_decision(
            smoothing_seconds=smoothing_seconds, refractory_seconds=refractory_seconds, hysteresis=hysteresis
        )
        self.words = card.words if words is None else tuple(dict.fromkeys(words))
        if not self.words:
            raise InputError(f"words: name at least one of {', '.join(card.words)}")
        for word in (*self.words, *(thresholds or {})):
            if word not in card.words:
                raise InputError(f"{word!r}: is not a word of this model, which knows {', '.join(card.words)}")
        wanted = {word: card.thresholds[word] if threshold is None else threshold for word in self.words}
        wanted |= {word: value for word, value in (thresholds or {}).items() if word in wanted}
        for word, value in wanted.items():
            if not 0.0 < value <= 1.0:
                raise InputError(f"threshold {value:g} of {word}: must be above 0 and at most 1")
        self.thresholds = wanted
        self._columns = np.array([card.labels.index(word) for word in self.words])
        self._upper = np.array([wanted[word] for word in self.words])
        self._lower = self.card.hysteresis * self._upper
        self._window = self.card.smoothing_blocks
        self._refractory = self.card.refractory_blocks
        self._closeness = NearMisses(self._upper)
        self.reset()

    def reset(self) -> None:
        """Forget smoothing, refractory time and what was pending or close. Time starts again at 0."""
        labels = len(self.card.labels)
        self._recent = np.zeros((self._window - 1, labels), np.float32)
        self._armed = np.ones(len(self.words), bool)
        self._quiet = True  # nothing is going on: a block without a word near its threshold changes nothing
        self._ready_at = 0  # block from which a word may fire
        self._blocks = 0
        self._closeness.reset()
        self.pending: Detection | None = None  # the last detection, while its peak can still rise
        self.posterior = np.zeros(labels)  # smoothed, at the end of the last block
        self.highest = self.posterior  # smoothed, of each label the highest within the last call of `decide`
        self.near_misses: list[NearMiss] = []  # that were over within the last call of `decide`

    @property
    def seconds(self) -> float:
        """How much sound has been decided on."""
        return self._blocks * self.card.block_length / self.card.sample_rate

    def decide(self, posteriors: np.ndarray) -> list[Detection]:
        """Detections in the next blocks, from their posteriors [blocks, labels], not yet smoothed."""
        self.near_misses, self.highest = [], self.posterior
        if not len(posteriors):
            return []
        rows = np.concatenate([self._recent, posteriors])
        self._recent = rows[len(rows) - self._window + 1 :].copy()  # a view would keep all of the piece
        smoothed = smooth(rows, self._window)
        self.posterior, self.highest = smoothed[-1].copy(), smoothed.max(axis=0)
        smoothed, detections = smoothed[:, self._columns], []
        near = np.asarray((smoothed >= self._closeness.near).any(axis=1))
        for row, is_near in zip(smoothed, near, strict=True):
            if is_near or not self._quiet:
                detection = self._decide_block(row)
                detections += [detection] if detection else []
            self._blocks += 1
        return detections

    def end(self) -> None:
        """The sound has ended: no peak rises any more, and a word that is close was a near miss."""
        self._miss(self._closeness.finish())
        self.pending = None

    def _decide_block(self, row: np.ndarray) -> Detection | None:
        """What is detected in a block, from its smoothed posteriors [words]."""
        detection = None
        ready = self._blocks >= self._ready_at
        reached = self._armed & (row >= self._upper)
        if ready and reached.any():
            word = int(np.where(reached, row, -1.0).argmax())
            detection = Detection(self.words[word], self._end_of(self._blocks), float(row[word]))
            self.pending, self._pending_word = detection, word
            self._ready_at = self._blocks + self._refractory
            self._armed[word] = False
            self._closeness.detected(row)
        else:
            if self.pending:
                self.pending.peak = max(self.pending.peak, float(row[self._pending_word]))
            self._miss(self._closeness.follow(row, self._armed & ready, self._blocks))
        self._armed |= row < self._lower
        if self._blocks + 1 >= self._ready_at:
            self.pending = None
        self._quiet = self.pending is None and self._closeness.idle and bool(self._armed.all())
        return detection

    def _miss(self, missed: list[tuple[int, int, float]]) -> None:
        for word, block, peak in missed:
            threshold = float(self._upper[word])
            self.near_misses.append(NearMiss(self.words[word], self._end_of(block), peak, threshold))

    def _end_of(self, block: int) -> float:
        """In seconds."""
        return round((block + 1) * self.card.block_length / self.card.sample_rate, 4)
