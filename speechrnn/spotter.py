"""Posteriors in, detections out: the only place that decides what was said, for clips and for streams."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from speechrnn.card import SILENCE
from speechrnn.errors import InputError
from speechrnn.near_misses import NearMiss, NearMisses
from speechrnn.pcm import checked

if TYPE_CHECKING:
    from speechrnn.model import Model


@dataclass
class Detection:
    """A word that was detected.

    It is handed out in the block in which the word reaches its threshold, while the word often still goes on: the
    posterior there says little more than that the threshold was reached. `peak` says how sure the network became. The
    spotter that made the detection raises it until the refractory time is over, or the sound; all else stays.
    """

    label: str
    time: float  # seconds from the start of the stream to the end of the block that reached the threshold
    probability: float  # the smoothed posterior of that block
    peak: float = 0.0  # the highest smoothed posterior of the word so far, from that block on

    def __post_init__(self) -> None:
        self.peak = max(self.peak, self.probability)


def smooth(posteriors: np.ndarray, blocks: int) -> np.ndarray:
    """Mean of each row [rows, labels] and the `blocks - 1` before it: [rows - blocks + 1, labels]."""
    windows = np.lib.stride_tricks.sliding_window_view(posteriors, blocks, axis=0)
    return windows.mean(axis=-1, dtype=np.float64)


def clearest(posteriors: np.ndarray, labels: Iterable[str], blocks: int) -> np.ndarray:
    """What a clip says: of `posteriors` [rows, labels], the smoothed row where a label other than silence peaks."""
    smoothed = smooth(posteriors, min(blocks, len(posteriors)))
    spoken = [i for i, label in enumerate(labels) if label != SILENCE]
    return smoothed[smoothed[:, spoken].max(axis=1).argmax()]


class Spotter:
    """Finds words in sound that never ends: any number of samples at a time in, detections out.

    A word is detected in the block where its smoothed posterior reaches its threshold. It can fire again when the
    posterior has fallen below `hysteresis` times the threshold; for `refractory_seconds` after a detection nothing
    fires. Work and memory per block are constant. Detections don't depend on how the sound is cut into pieces.

    A detection is returned at once, with the posterior that reached the threshold as its `probability`. Its `peak`, the
    highest posterior within the refractory time, rises meanwhile: it is final once the detection isn't `pending`.
    After each call of `process` or `finish`, `near_misses` has the words that came close and were not detected.

    Parameters
    ----------
    model : Model
    threshold : number in (0, 1], or None
        for all words, instead of the card's
    thresholds : mapping of word to number in (0, 1]
        for single words; stands above `threshold`
    words : words to listen for, or None for all
    smoothing_seconds, refractory_seconds, hysteresis : numbers, or None for the card's

    Raises
    ------
    InputError
        if a word isn't one of the model's, or a number is out of its range

    Examples
    --------
    >>> import numpy as np, speechrnn
    >>> spotter = speechrnn.Spotter(speechrnn.load(), words=["yes", "no"])
    >>> spotter.process(np.zeros(16_000, np.float32))
    []
    """

    def __init__(
        self,
        model: "Model",
        threshold: float | None = None,
        thresholds: Mapping[str, float] | None = None,
        words: Iterable[str] | None = None,
        smoothing_seconds: float | None = None,
        refractory_seconds: float | None = None,
        hysteresis: float | None = None,
    ) -> None:
        card = model.card
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
        smoothing = card.smoothing_seconds if smoothing_seconds is None else smoothing_seconds
        refractory = card.refractory_seconds if refractory_seconds is None else refractory_seconds
        share = card.hysteresis if hysteresis is None else hysteresis
        if not 0.0 <= smoothing <= 10.0 or not 0.0 <= refractory <= 3600.0 or not 0.0 <= share <= 1.0:
            raise InputError("smoothing must be 0 to 10 s, refractory 0 to 3600 s, hysteresis 0 to 1")
        self._stream = model.stream()
        self._block_length, self._rate = card.block_length, card.sample_rate
        self._tail = round(card.tail_seconds * card.sample_rate)
        self._columns = np.array([card.labels.index(word) for word in self.words])
        self._upper = np.array([wanted[word] for word in self.words])
        self._lower = share * self._upper
        self._window = card.blocks(smoothing)
        self._refractory = round(refractory / card.block_seconds)
        self._closeness = NearMisses(self._upper)
        self.reset()

    def reset(self) -> None:
        """Forget everything: sound not yet used, the network's state, smoothing, refractory. Time starts again at 0."""
        self._stream.reset()
        self._rest = np.zeros(0, np.float32)
        self._recent = np.zeros((self._window - 1, len(self._stream.labels)), np.float32)
        self._armed = np.ones(len(self.words), bool)
        self._quiet = True  # nothing is going on: a block without a word near its threshold changes nothing
        self._ready_at = 0  # block from which a word may fire
        self._blocks = 0
        self._closeness.reset()
        self.pending: Detection | None = None  # the last detection, while its peak can still rise
        self.posterior = np.zeros(len(self._stream.labels))  # smoothed, at the end of the last block
        self.highest = self.posterior  # smoothed, of each label the highest within the last call of `process`
        self.near_misses: list[NearMiss] = []  # that were over within the last call of `process`

    @property
    def seconds(self) -> float:
        """How much sound has been decided on."""
        return self._blocks * self._block_length / self._rate

    def process(self, samples: np.ndarray) -> list[Detection]:
        """Hear the next samples (float32 mono 16 kHz [samples], any number) and return what was detected in them.

        Raises
        ------
        speechrnn.errors.AudioError
            if they aren't floats, hold NaN, or have another shape; what was heard so far stays as it was
        """
        return self.decide(self.posteriors(samples))

    def finish(self) -> list[Detection]:
        """The sound has ended: hear what is left of it, then a stretch of digital silence, as at the end of a clip."""
        found = self.process(self.ending())
        self._miss(self._closeness.finish())
        self.pending = None
        return found

    def ending(self) -> np.ndarray:
        """What `finish` hears: zeros [samples] that fill the last block, and the model's tail after it."""
        return np.zeros(-len(self._rest) % self._block_length + self._tail, np.float32)

    def posteriors(self, samples: np.ndarray) -> np.ndarray:
        """The first half of `process`: posteriors [blocks, labels] of the blocks that the next samples complete.

        `decide` is the other half. Who keeps the posteriors can decide again, with other thresholds.
        """
        heard = np.concatenate([self._rest, checked(samples)])
        whole = len(heard) // self._block_length * self._block_length
        self._rest = heard[whole:].copy()
        if not whole:
            return np.zeros((0, len(self._stream.labels)), np.float32)
        return self._stream.process(heard[None, :whole])[0]

    def decide(self, posteriors: np.ndarray) -> list[Detection]:
        """Posteriors [blocks, labels] of the next blocks, not yet smoothed -> what is detected in them."""
        self.near_misses, self.highest = [], self.posterior
        if not len(posteriors):
            return []
        rows = np.concatenate([self._recent, posteriors])
        self._recent = rows[len(rows) - self._window + 1 :].copy()  # a view would keep all of the piece
        smoothed = smooth(rows, self._window)
        self.posterior, self.highest = smoothed[-1].copy(), smoothed.max(axis=0)
        return self._decide(smoothed[:, self._columns])

    def _decide(self, smoothed: np.ndarray) -> list[Detection]:
        """Smoothed posteriors [blocks, words] of the next blocks -> detections."""
        detections = []
        near = np.asarray((smoothed >= self._closeness.near).any(axis=1))
        for row, is_near in zip(smoothed, near, strict=True):
            if is_near or not self._quiet:
                detection = self._decide_block(row)
                detections += [detection] if detection else []
            self._blocks += 1
        return detections

    def _decide_block(self, row: np.ndarray) -> Detection | None:
        """Smoothed posteriors [words] of a block -> what is detected in it."""
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
        return round((block + 1) * self._block_length / self._rate, 4)
