"""The score of detections against label tracks: hits, misses, false accepts per hour, latency, the DET curve.

A word is hit by the first detection of it from its start to 0.75 s after its end. Any other detection in that interval
is a substitution (another word) or a duplicate (the same word again); a detection outside of every interval is a false
accept. Latency is counted from the end of the word, as people feel it; it is negative where a word is detected before
its end.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field

import numpy as np

from speechrnn.card import Card
from speechrnn.decision import Detection, Detector
from speechrnn.labels import Label

HIT_SECONDS = 0.75  # after the end of a word, it can still be hit
DET_THRESHOLDS = (*(round(0.05 * step, 2) for step in range(2, 20)), 0.97, 0.99)


@dataclass(frozen=True)
class WordCounts:
    """The counts of one word."""

    references: int = 0  # labels
    hits: int = 0
    substitutions: int = 0  # detections in the interval of another word
    duplicates: int = 0  # further detections in the interval of a label that is hit already
    false_accepts: int = 0

    @property
    def misses(self) -> int:
        return self.references - self.hits

    def __add__(self, other: "WordCounts") -> "WordCounts":
        return WordCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Score:
    """What came of one recording, or of several: scores can be added, and `sum` works on them."""

    counts: Mapping[str, WordCounts] = field(default_factory=dict)  # of each word
    seconds: float = 0.0  # how much sound it was
    latencies: tuple[float, ...] = ()  # seconds from the end of a word to its hit
    probabilities: tuple[float, ...] = ()  # of each hit, in the block that reached the threshold
    peaks: tuple[float, ...] = ()  # of each hit, within the refractory time

    @property
    def total(self) -> WordCounts:
        return sum(self.counts.values(), WordCounts())

    @property
    def words(self) -> int:
        return self.total.references

    @property
    def hits(self) -> int:
        return self.total.hits

    @property
    def misses(self) -> int:
        return self.total.misses

    @property
    def substitutions(self) -> int:
        return self.total.substitutions

    @property
    def duplicates(self) -> int:
        return self.total.duplicates

    @property
    def false_accepts(self) -> int:
        return self.total.false_accepts

    @property
    def hours(self) -> float:
        return self.seconds / 3600.0

    @property
    def miss_rate(self) -> float | None:
        """Misses for each reference label (false reject rate); None without one."""
        return self.misses / self.words if self.words else None

    @property
    def duplicate_rate(self) -> float | None:
        """Duplicates for each reference label; None without one."""
        return self.duplicates / self.words if self.words else None

    @property
    def false_accepts_per_hour(self) -> float | None:
        """None where there was no sound."""
        return self.false_accepts / self.hours if self.seconds else None

    @property
    def latency_median(self) -> float | None:
        """Seconds; None without a hit."""
        return float(np.median(self.latencies)) if self.latencies else None

    @property
    def latency_p95(self) -> float | None:
        """Seconds within which 95 % of the hits come; None without a hit."""
        return float(np.quantile(self.latencies, 0.95)) if self.latencies else None

    @property
    def probability_median(self) -> float | None:
        """Of the hits, in the block that reached the threshold; None without a hit."""
        return float(np.median(self.probabilities)) if self.probabilities else None

    @property
    def peak_median(self) -> float | None:
        """Of the hits; None without a hit."""
        return float(np.median(self.peaks)) if self.peaks else None

    def __add__(self, other: "Score") -> "Score":
        words = dict.fromkeys([*self.counts, *other.counts])
        counts = {word: self.counts.get(word, WordCounts()) + other.counts.get(word, WordCounts()) for word in words}
        return Score(
            counts,
            self.seconds + other.seconds,
            self.latencies + other.latencies,
            self.probabilities + other.probabilities,
            self.peaks + other.peaks,
        )

    def __radd__(self, other: int) -> "Score":
        return self if other == 0 else NotImplemented  # `sum` begins with 0


@dataclass(frozen=True)
class CachedPosteriors:
    """The posteriors and reference labels of a recording: thresholds can be swept over them without inference."""

    posteriors: np.ndarray  # [blocks, labels], not smoothed; with the tail after the end
    labels: tuple[Label, ...]
    seconds: float  # of sound, without the tail


def score(detections: Iterable[Detection], labels: Iterable[Label], words: Iterable[str], seconds: float) -> Score:
    """Match the detections in a recording with its reference labels.

    Parameters
    ----------
    detections : detections, in any order
    labels : reference labels, in any order
        those whose word isn't one of `words` are no targets: a detection there is a false accept, unless it lies in
        the interval of a target as well
    words : the words that were listened for
    seconds : number >= 0
        length of the recording

    Where intervals overlap, a detection belongs to the earliest label that it is a hit of.
    """
    words = tuple(words)
    targets = sorted((label for label in labels if label.word in words), key=lambda label: (label.start, label.end))
    counted: Counter[tuple[str, str]] = Counter((label.word, "references") for label in targets)
    starts = [target.start for target in targets]
    longest = max((target.end - target.start for target in targets), default=0.0) + HIT_SECONDS + 1e-6
    hits: list[Detection] = []
    latencies = []
    missing = [True] * len(targets)
    for detection in sorted(detections, key=lambda detection: detection.time):
        near = range(bisect_left(starts, detection.time - longest), bisect_right(starts, detection.time))
        there = [i for i in near if detection.time <= targets[i].end + HIT_SECONDS]
        same = [i for i in there if targets[i].word == detection.label]
        hit = next((i for i in same if missing[i]), None)
        if hit is not None:
            missing[hit] = False
            hits.append(detection)
            latencies.append(detection.time - targets[hit].end)
        kind = "hits" if hit is not None else "duplicates" if same else "substitutions" if there else "false_accepts"
        counted[detection.label, kind] += 1
    kinds = ("references", "hits", "substitutions", "duplicates", "false_accepts")
    names = dict.fromkeys([*words, *(word for word, _ in counted)])
    counts = {word: WordCounts(*(counted[word, kind] for kind in kinds)) for word in names}
    probabilities, peaks = tuple(hit.probability for hit in hits), tuple(hit.peak for hit in hits)
    return Score(counts, seconds, tuple(latencies), probabilities, peaks)


def judge(detector: Detector, recordings: Iterable[CachedPosteriors]) -> Score:
    """The score of `detector` on recordings; it is reset at the start of each."""
    whole = Score()
    for cached in recordings:
        detector.reset()
        whole += score(detector.decide(cached.posteriors), cached.labels, detector.words, cached.seconds)
    return whole


def det_curve(
    card: Card,
    recordings: Sequence[CachedPosteriors],
    thresholds: Iterable[float] = DET_THRESHOLDS,
    words: Iterable[str] | None = None,
) -> list[tuple[float, Score]]:
    """Detection error trade-off (Martin et al. 1997): the score at each threshold, one and the same for all words.

    Parameters
    ----------
    card : Card
        of the model that gave the posteriors
    recordings : cached posteriors, on which a `Detector` decides anew at each threshold
    thresholds : numbers in (0, 1]
    words : words to detect, or None for all

    Returns
    -------
    list of (threshold, score)
    """
    chosen = None if words is None else tuple(words)
    return [(t, judge(Detector(card, threshold=t, words=chosen), recordings)) for t in thresholds]
