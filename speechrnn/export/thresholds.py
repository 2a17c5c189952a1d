"""Choose a threshold for each word from posteriors of validation streams.

The words share the false accepts that are allowed. Which word gets how many is solved exactly: each word's misses,
wrong detections and false accepts are counted at every threshold of a grid, by the detector with this threshold for all
words, and the best choice of one for each word is found by dynamic programming over the false accepts spent. The
detector then counts again with the chosen ones, since a detection of one word can suppress that of another.

False accepts are rare, and a threshold that avoids just those that happened promises too much. So the choice is also
made on each half of the sound and counted on the other.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.progress import track

from speechrnn.card import Card
from speechrnn.decision import Detector
from speechrnn.errors import InputError
from speechrnn.evaluation.scoring import CachedPosteriors, Score, judge
from speechrnn.labels import Label
from speechrnn.terminal import plain_console

# Evenly spaced in log odds, so that there are many close to 1. Down to 0.27: at such odds a word is
# often right, and one with many false accepts there gets a higher threshold.
THRESHOLDS = tuple(round(1.0 / (1.0 + math.exp(-odds)), 4) for odds in np.arange(-1.0, 5.01, 0.25))


@dataclass(frozen=True)
class Choice:
    """A threshold for each word."""

    thresholds: dict[str, float]
    score: Score  # on the sound that they were chosen on
    crossed: Score | None  # chosen on one half of the sound, counted on the other, both ways; None if that can't be


def choose(card: Card, streams: Sequence[CachedPosteriors], rate: float, lowest: float = THRESHOLDS[0]) -> Choice:
    """The thresholds with the fewest misses and wrong words, and at most `rate` false accepts per hour in all streams.

    None of them is below `lowest`, which must be at most the last of THRESHOLDS.

    Raises
    ------
    InputError
        if no thresholds of the grid have so few
    """
    halves = split(card, streams)
    counted = {
        threshold: [judge(Detector(card, threshold=threshold), half) for half in halves]
        for threshold in track(
            [threshold for threshold in THRESHOLDS if threshold >= lowest],
            "trying thresholds",
            console=plain_console(stderr=True, quiet=not sys.stderr.isatty()),
            transient=True,
        )
    }
    allowed = _allowed(rate, streams)
    whole = {threshold: sum(scores, Score()) for threshold, scores in counted.items()}
    for spent in range(allowed, -1, -1):
        thresholds = allocate(whole, spent)
        if thresholds is None:
            break
        score = judge(Detector(card, thresholds=thresholds), streams)
        if score.false_accepts <= allowed:
            return Choice(thresholds, score, _crossed(card, counted, halves, rate))
    raise InputError(f"--target-fa {rate:g}: more false accepts than that at every threshold: allow more")


def same(card: Card, streams: Sequence[CachedPosteriors], threshold: float) -> Choice:
    """One threshold for all words: fewer numbers to fit to few false accepts."""
    chosen = dict.fromkeys(card.words, threshold)
    return Choice(chosen, judge(Detector(card, thresholds=chosen), streams), None)


def _allowed(rate: float, streams: Sequence[CachedPosteriors]) -> int:
    """How many false accepts `rate` per hour are in the streams."""
    return math.floor(rate * sum(cached.seconds for cached in streams) / 3600.0)


def _crossed(
    card: Card, counted: Mapping[float, Sequence[Score]], halves: Sequence[Sequence[CachedPosteriors]], rate: float
) -> Score | None:
    whole = Score()
    for own, other in ((0, 1), (1, 0)):
        scores = {threshold: pair[own] for threshold, pair in counted.items()}
        thresholds = allocate(scores, _allowed(rate, halves[own]))
        if thresholds is None:
            return None
        whole += judge(Detector(card, thresholds=thresholds), halves[other])
    return whole


def allocate(scores: Mapping[float, Score], allowed: int) -> dict[str, float] | None:
    """The best threshold for each word, or None if there are more than `allowed` false accepts whatever is chosen.

    `scores` are what was counted at each threshold. Of thresholds that are as good, the highest is taken.
    """
    highest_first = sorted(scores, reverse=True)
    best: dict[int, tuple[int, dict[str, float]]] = {0: (0, {})}  # by false accepts spent: cost, thresholds so far
    for word in next(iter(scores.values())).counts:
        longer: dict[int, tuple[int, dict[str, float]]] = {}
        for spent, (cost, chosen) in best.items():
            for threshold in highest_first:
                counts = scores[threshold].counts[word]
                total, whole = spent + counts.false_accepts, cost + counts.misses + counts.substitutions
                if total <= allowed and (total not in longer or whole < longer[total][0]):
                    longer[total] = whole, {**chosen, word: threshold}
        best = longer
    return min(best.items(), key=lambda item: (item[1][0], item[0]))[1][1] if best else None


def split(card: Card, streams: Sequence[CachedPosteriors]) -> tuple[list[CachedPosteriors], list[CachedPosteriors]]:
    """Two halves: recordings with words are cut in the middle, of the others every second one is in each."""
    halves: tuple[list[CachedPosteriors], list[CachedPosteriors]] = ([], [])
    others = 0
    for cached in streams:
        if not cached.labels:
            halves[others % 2].append(cached)
            others += 1
            continue
        blocks = round(cached.seconds / card.block_seconds) // 2
        middle = blocks * card.block_seconds
        before = tuple(label for label in cached.labels if label.end < middle)
        after = tuple(
            Label(label.start - middle, label.end - middle, label.word)
            for label in cached.labels
            if label.start >= middle
        )
        halves[0].append(CachedPosteriors(cached.posteriors[:blocks], before, middle))
        halves[1].append(CachedPosteriors(cached.posteriors[blocks:], after, cached.seconds - middle))
    return halves
