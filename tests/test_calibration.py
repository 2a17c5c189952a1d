"""Calibration: probabilities that can be believed have no error, and a temperature does what it does to logits."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.errors import InputError
from speechrnn.evaluation import calibration
from speechrnn.evaluation.calibration import expected_calibration_error, reliability, tempered

judged = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=40)


def by_hand(clips, bins):
    """Equation 3 as it stands in the paper, one bin and one clip after the other."""
    error = 0.0
    for number in range(bins):
        inside = [c for c in clips if (number < c[0] * bins <= number + 1) or (number == 0 and c[0] == 0.0)]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(p for p, _ in inside) / len(inside)
            error += len(inside) / len(clips) * abs(accuracy - confidence)
    return error


@settings(deadline=None)
@given(judged, st.integers(1, 20))
def test_the_error_is_that_of_the_paper(clips, bins):
    error = expected_calibration_error(*zip(*clips, strict=True), bins)
    assert error == pytest.approx(by_hand(clips, bins), abs=1e-9)
    assert 0.0 <= error <= 1.0


@settings(deadline=None)
@given(judged, st.randoms())
def test_the_order_of_clips_does_not_matter(clips, random):
    shuffled = random.sample(clips, len(clips))
    one, other = (expected_calibration_error(*zip(*c, strict=True)) for c in (clips, shuffled))
    assert one == pytest.approx(other, abs=1e-12)


@settings(deadline=None)
@given(judged)
def test_every_clip_is_in_one_bin(clips):
    found = reliability(*zip(*clips, strict=True))
    assert sum(b.count for b in found) == len(clips)
    assert sum(b.count * b.confidence for b in found) == pytest.approx(sum(p for p, _ in clips))
    assert sum(b.count * b.accuracy for b in found) == pytest.approx(sum(right for _, right in clips))
    assert [b.confidence for b in found] == sorted(b.confidence for b in found)


def test_probabilities_that_come_true_have_no_error_and_boasting_has():
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.3, 1.0, 200_000)
    right = rng.random(len(chance)) < chance
    assert expected_calibration_error(chance, right) < 0.01
    assert expected_calibration_error(np.minimum(1.0, chance + 0.2), right) > 0.1


def test_a_softmax_may_be_above_one_by_its_rounding():
    assert len(reliability([1.0, np.float32(1.0000001)], [True, True])) == 1


@pytest.mark.parametrize("clips", [([], []), ([0.5], []), ([1.5], [True]), ([-0.1], [True]), ([np.nan], [True])])
def test_what_is_no_probability_is_refused(clips):
    with pytest.raises(InputError, match="calibration"):
        expected_calibration_error(*clips)


logits = st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=5).map(np.array)


def softmax(values):
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@settings(deadline=None)
@given(logits, st.floats(0.3, 5.0))
def test_tempered_posteriors_are_those_of_divided_logits(values, temperature):
    stored = softmax(values).astype(np.float32)  # as the graph gives them
    np.testing.assert_allclose(tempered(stored, temperature), softmax(values / temperature), atol=1e-5)


def test_a_posterior_of_nothing_at_all_stays_a_number():
    rows = np.array([[1.0, 0.0, 0.0]], np.float32)
    for temperature in (0.2, 1.0, 4.0):
        made = tempered(rows, temperature)
        assert np.isfinite(made).all()
        assert made.sum() == pytest.approx(1.0)


def test_the_examples_in_it_are_true():
    assert doctest.testmod(calibration).failed == 0
