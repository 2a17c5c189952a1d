"""Pseudo-words and synthetic noise: finite, of the right length, and of the kind that they should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training import synthetic_noise
from speechrnn.training.audio_pool import CLIP_SAMPLES
from speechrnn.training.pseudo_words import FADE, PIECE_SECONDS, fragment, noise_floor, spliced

RANDOM = st.integers(0, 2**32 - 1).map(np.random.default_rng)
COMMAND_HZ, OTHER_HZ = 500.0, 3000.0


def tone(frequency, start=0.3, end=0.7, level=0.3):
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    sound = np.where((time >= start) & (time < end), level * np.sin(2 * np.pi * frequency * time), 0.0)
    return sound.astype(np.float32)


def power_at(sound, frequency):
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    return spectrum[np.abs(hertz - frequency) < 100].sum() / spectrum.sum()


@given(RANDOM)
@settings(max_examples=30, deadline=None)
def test_an_extended_word_holds_both_words_at_one_level(rng):
    made = spliced(rng, tone(COMMAND_HZ), tone(OTHER_HZ, level=0.01))
    assert made.shape == (CLIP_SAMPLES,)
    assert made.dtype == np.float32
    assert power_at(made, COMMAND_HZ) > 0.2
    assert power_at(made, OTHER_HZ) > 0.05
    assert np.abs(made).max() < 0.5


@given(RANDOM, st.floats(0.0, 0.3))
@settings(max_examples=30, deadline=None)
def test_of_words_however_quiet_something_finite_is_made(rng, level):
    made = spliced(rng, tone(COMMAND_HZ, level=level), np.zeros(CLIP_SAMPLES, np.float32))
    assert made.shape == (CLIP_SAMPLES,)
    assert np.isfinite(made).all()


@given(RANDOM, st.integers(0, 3 * SAMPLE_RATE))
@settings(max_examples=50, deadline=None)
def test_a_piece_of_speech_is_as_long_as_a_word_and_stands_by_itself(rng, length):
    made = fragment(rng, np.full(length, 0.1, np.float32), CLIP_SAMPLES)
    assert made.shape == (CLIP_SAMPLES,)
    assert np.count_nonzero(made) <= (PIECE_SECONDS[1] + 0.2) * SAMPLE_RATE
    assert np.abs(made).max(initial=0.0) <= 0.1 + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_a_piece_is_cut_at_quiet_moments(seed):
    """Sounds of 0.12 s with pauses of 0.03 s: where an end may move by 0.08 s, a pause is near, and none is cut."""
    time = np.arange(2 * CLIP_SAMPLES) / SAMPLE_RATE
    speech = np.where(time % 0.15 < 0.12, 0.3, 0.0).astype(np.float32)
    made = np.pad(fragment(np.random.default_rng(seed), speech, CLIP_SAMPLES), 1)
    edges = np.flatnonzero(np.diff((made > 0.0).astype(int)))
    lengths = np.diff(edges)[::2] / SAMPLE_RATE
    assert len(lengths)
    assert (np.abs(lengths - 0.12) <= 2 * FADE / SAMPLE_RATE).all()


@given(RANDOM, st.floats(1e-4, 0.1))
@settings(max_examples=20, deadline=None)
def test_the_floor_is_as_loud_and_as_coloured_as_the_quietest_moment(rng, level):
    hum = level * np.sin(2 * np.pi * COMMAND_HZ * np.arange(CLIP_SAMPLES) / SAMPLE_RATE)
    made = noise_floor(rng, hum.astype(np.float32) + tone(OTHER_HZ, level=10 * level), CLIP_SAMPLES)
    assert made.shape == (CLIP_SAMPLES,)
    assert made.dtype == np.float32
    assert np.sqrt(np.mean(np.square(made))) == pytest.approx(level / np.sqrt(2), rel=0.05)
    assert power_at(made, COMMAND_HZ) > 0.9


@pytest.mark.parametrize("length", [10, CLIP_SAMPLES])
def test_the_floor_of_nothing_is_nothing(length):
    assert not noise_floor(np.random.default_rng(0), np.zeros(length, np.float32), CLIP_SAMPLES).any()


@pytest.mark.parametrize(
    "kind", [synthetic_noise.music, synthetic_noise.machine, synthetic_noise.signals, synthetic_noise.knocks]
)
def test_noise_of_each_kind_is_sound_and_differs_from_seed_to_seed(kind):
    first, again, other = (kind(np.random.default_rng(seed), 2 * SAMPLE_RATE) for seed in (1, 1, 2))
    assert first.shape == (2 * SAMPLE_RATE,)
    assert np.isfinite(first).all()
    assert first.std() > 0.0
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("seed", range(20))
def test_made_noise_is_heard_and_within_full_scale(seed):
    noise = synthetic_noise.synthetic_noise(np.random.default_rng(seed), 10.0)
    assert noise.shape == (10 * SAMPLE_RATE,)
    assert noise.dtype == np.float32
    assert 0.09 < np.abs(noise).max() <= 1.0
