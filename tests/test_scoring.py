"""Detections against labels: what counts as a hit, a miss, a wrong word, a double hit, a false accept."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.decision import Detection
from speechrnn.evaluation.scoring import HIT_SECONDS, CachedPosteriors, Score, det_curve, judge, score
from speechrnn.labels import Label
from speechrnn.spotter import Spotter
from tests.support.made_streams import WORDS, FakeModel, spoken

times = st.integers(0, 4000).map(lambda step: step / 64)  # sums of such numbers are exact
words = st.sampled_from([*WORDS, "_unknown_", "house"])
detections = st.lists(st.builds(Detection, st.sampled_from(WORDS), times, st.just(0.9)), max_size=12)
labels = st.lists(
    st.builds(
        lambda start, length, word: Label(start, start + length, word), times, times.map(lambda t: t / 16), words
    ),
    max_size=8,
)


def heard(*found):
    return [Detection(word, time, 0.9) for word, time in found]


def total(found, said, seconds=3600.0):
    whole = score(heard(*found), said, WORDS, seconds)
    return whole.hits, whole.misses, whole.substitutions, whole.duplicates, whole.false_accepts


YES = Label(1.0, 1.5, "yes")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], (0, 1, 0, 0, 0)),
        ([("yes", 1.4)], (1, 0, 0, 0, 0)),
        ([("yes", 1.0)], (1, 0, 0, 0, 0)),  # both ends belong to it
        ([("yes", 2.25)], (1, 0, 0, 0, 0)),
        ([("yes", 0.98)], (0, 1, 0, 0, 1)),
        ([("yes", 2.27)], (0, 1, 0, 0, 1)),
        ([("no", 1.4)], (0, 1, 1, 0, 0)),
        ([("no", 1.4), ("yes", 1.6)], (1, 0, 1, 0, 0)),
        ([("yes", 1.6), ("yes", 2.0)], (1, 0, 0, 1, 0)),
        ([("yes", 1.6), ("yes", 2.0), ("yes", 3.0)], (1, 0, 0, 1, 1)),
        ([("yes", 2.0), ("yes", 1.6)], (1, 0, 0, 1, 0)),  # order of arrival doesn't matter
    ],
)
def test_one_word(found, expected):
    assert total(found, [YES]) == expected


@pytest.mark.parametrize("word", ["_unknown_", "house", "speech"])
def test_what_is_said_besides_the_words_is_no_target(word):
    assert total([("yes", 1.4), ("no", 1.5)], [Label(1.0, 1.5, word)]) == (0, 0, 0, 0, 2)


def test_the_same_word_twice_in_a_row_is_hit_twice():
    said = [Label(1.0, 1.5, "yes"), Label(1.7, 2.2, "yes")]
    assert total([("yes", 1.5), ("yes", 2.1)], said) == (2, 0, 0, 0, 0)
    assert total([("yes", 2.1)], said) == (1, 1, 0, 0, 0)  # it belongs to the first, whose interval lasts to 2.25


def test_a_late_hit_is_no_wrong_word_for_the_word_that_has_begun():
    said = [Label(1.0, 1.5, "yes"), Label(1.7, 2.2, "no")]
    assert total([("no", 2.1), ("yes", 2.0)], said) == (2, 0, 0, 0, 0)


def test_latency_is_counted_from_the_end_of_the_word():
    said = [Label(1.0, 1.5, "yes"), Label(5.0, 5.5, "no"), Label(9.0, 9.5, "go")]
    result = score(heard(("yes", 1.6), ("no", 5.4), ("go", 9.8)), said, WORDS, 10.0)
    assert result.latencies == pytest.approx((0.1, -0.1, 0.3))
    assert result.latency_median == pytest.approx(0.1)
    assert 0.1 < result.latency_p95 <= 0.3


def test_rates():
    result = score(heard(("yes", 1.6), ("yes", 1.9), ("go", 8.0), ("go", 9.0)), [YES, Label(4, 5, "no")], WORDS, 1800.0)
    assert (result.miss_rate, result.duplicate_rate) == (0.5, 0.5)
    assert result.hours == 0.5
    assert result.false_accepts_per_hour == 4.0


def test_what_cannot_be_said_is_none():
    empty = Score()
    assert (empty.miss_rate, empty.duplicate_rate, empty.false_accepts_per_hour) == (None, None, None)
    assert (empty.latency_median, empty.latency_p95) == (None, None)


def test_each_word_has_its_own_counts():
    result = score(heard(("yes", 1.6), ("no", 1.7), ("go", 9.0)), [YES, Label(4, 5, "no")], WORDS, 10.0)
    yes, no, go = (result.counts[word] for word in ("yes", "no", "go"))
    assert (yes.references, yes.hits, yes.misses) == (1, 1, 0)
    assert (no.references, no.hits, no.misses, no.substitutions) == (1, 0, 1, 1)
    assert (go.references, go.false_accepts) == (0, 1)


@settings(deadline=None, max_examples=50)
@given(detections, labels)
def test_every_detection_and_every_word_is_counted_once(found, said):
    result = score(found, said, WORDS, 60.0)
    assert result.hits + result.substitutions + result.duplicates + result.false_accepts == len(found)
    assert result.hits + result.misses == result.words == sum(label.word in WORDS for label in said)
    assert len(result.latencies) == result.hits
    longest = max((label.end - label.start for label in said), default=0.0)
    assert all(-longest - 1e-9 <= latency <= HIT_SECONDS + 1e-9 for latency in result.latencies)


@settings(deadline=None, max_examples=50)
@given(detections, labels)
def test_the_order_of_detections_and_labels_does_not_matter(found, said):
    result, turned = score(found, said, WORDS, 60.0), score(found[::-1], said[::-1], WORDS, 60.0)
    assert (result.counts, sorted(result.latencies)) == (turned.counts, pytest.approx(sorted(turned.latencies)))


@settings(deadline=None, max_examples=50)
@given(detections, labels, detections, labels)
def test_recordings_add_up(found, said, more_found, more_said):
    one, other = score(found, said, WORDS, 60.0), score(more_found, more_said, WORDS, 30.0)
    both = sum([one, other])
    later = 1024.0  # the same two as one long recording
    joined = score(
        [*found, *(Detection(d.label, d.time + later, d.probability) for d in more_found)],
        [*said, *(Label(label.start + later, label.end + later, label.word) for label in more_said)],
        WORDS,
        90.0,
    )
    assert both.counts == joined.counts
    assert both.seconds == joined.seconds == 90.0
    assert both.latencies == pytest.approx(joined.latencies)


def recorded(*said, seconds=5.0, level=1.0):
    """What a network that hears everything makes of a recording."""
    spotter = Spotter(FakeModel(level))
    samples, track = spoken(*said, seconds=seconds)
    return CachedPosteriors(
        np.concatenate([spotter.posteriors(samples), spotter.posteriors(spotter.ending())]), track, seconds
    )


def test_judging_posteriors_equals_scoring_what_process_detects():
    samples, track = spoken(("yes", 1.0), ("no", 3.0), ("no", 4.0))
    spotter = Spotter(FakeModel())
    direct = score(spotter.process(samples) + spotter.finish(), track, spotter.words, 5.0)
    again = judge(spotter, [recorded(("yes", 1.0), ("no", 3.0), ("no", 4.0))])
    assert again == direct
    assert again.hits == 3


def test_each_recording_is_judged_from_a_fresh_start():
    once = recorded(("yes", 0.0))  # would fall into the refractory time of one before it
    assert judge(Spotter(FakeModel()), [once, once, once]).hits == 3


def test_det_curve_has_a_score_for_each_threshold_and_no_more_misses_for_a_lower_one():
    model = FakeModel()
    recordings = [recorded(("yes", 1.0), level=0.4), recorded(("no", 2.0), level=0.8), recorded(("go", 2.0))]
    curve = det_curve(model.card, recordings, (0.2, 0.5, 0.9))
    assert [(threshold, result.hits) for threshold, result in curve] == [(0.2, 3), (0.5, 2), (0.9, 1)]
    assert [result.words for _, result in det_curve(model.card, recordings, (0.2,), words=["yes"])] == [1]


def test_det_curve_runs_the_network_no_more():
    recordings = [recorded(("yes", 1.0))]
    model = FakeModel()
    model.broken = True
    assert det_curve(model.card, recordings, (0.5,))[0][1].hits == 1
