"""Where a word begins and ends, by energy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from speechrnn.evaluation.endpoints import FRAME, LONGEST_PAUSE, word_endpoints
from tests.support.clips import RATE, burst


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 50), st.integers(10, 45), st.floats(0.02, 0.5), st.integers(0, 9))
def test_a_burst_is_found_to_two_frames(start, length, level, seed):
    first, last = start / 100, (start + length) / 100
    found = word_endpoints(burst((first, last), level=level, seed=seed))
    assert found == pytest.approx((first, last), abs=0.021)


@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.float32, st.integers(3 * FRAME, 40 * FRAME), elements=st.floats(-1, 1, width=32)))
def test_any_sound_has_an_extent_within_it(sound):
    start, end = word_endpoints(sound)
    assert 0.0 <= start < end <= len(sound) / RATE


@settings(deadline=None, max_examples=40)
@given(st.integers(-30, 10))
def test_level_does_not_matter(decibels):
    sound = burst((0.3, 0.7))
    assert word_endpoints(sound * np.float32(10 ** (decibels / 20))) == pytest.approx(word_endpoints(sound), abs=0.011)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30))
def test_a_word_that_comes_later_ends_later(frames):
    sound = burst((0.2, 0.6))
    start, end = word_endpoints(sound)
    later = np.concatenate([burst(seconds=frames / 100, seed=1), sound])
    assert word_endpoints(later) == pytest.approx((start + frames / 100, end + frames / 100), abs=0.011)


def test_a_short_pause_belongs_to_the_word_and_a_long_one_does_not():
    pause = LONGEST_PAUSE / 100
    short = burst((0.1, 0.3), (0.3 + pause - 0.05, 0.8))
    assert word_endpoints(short) == pytest.approx((0.1, 0.8), abs=0.021)
    apart = burst((0.1, 0.3), seconds=1.5, level=0.1) + burst((0.3 + pause + 0.1, 1.0), seconds=1.5)
    assert word_endpoints(apart) == pytest.approx((0.3 + pause + 0.1, 1.0), abs=0.021)


def test_digital_silence_is_one_stretch():
    assert word_endpoints(np.zeros(RATE, np.float32)) == (0.0, 1.0)


def test_a_real_word_lies_within_its_second(validation_folder):
    from speechrnn import audio

    lengths = []
    for path in sorted((validation_folder / "stop").glob("*.wav"))[:40]:
        start, end = word_endpoints(audio.load(path))
        lengths.append(end - start)
    assert 0.2 < np.median(lengths) < 0.8
