"""Levels are those of physics: of waves whose root mean square is known, and of noise beside a signal."""

import doctest

import numpy as np
import pytest

from speechrnn import level

TIME = np.arange(16_000) / 16_000


def test_the_examples_are_true():
    assert doctest.testmod(level).failed == 0


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 1e-3])
def test_a_sine_is_3_db_below_a_square_wave_of_its_amplitude(amplitude):
    sine = (amplitude * np.sin(2.0 * np.pi * 440.0 * TIME)).astype(np.float32)
    assert level.rms(sine) == pytest.approx(amplitude / np.sqrt(2.0), rel=1e-6)
    assert level.dbfs(level.rms(np.sign(sine) * amplitude)) - level.dbfs(level.rms(sine)) == pytest.approx(
        3.01, abs=0.01
    )


def test_silence_and_nothing_have_the_lowest_level():
    assert level.rms(np.zeros(0, np.float32)) == level.rms(np.zeros(10, np.float32)) == 0.0
    assert level.dbfs(0.0) == level.FLOOR_DBFS


@pytest.mark.parametrize("db", [-60.0, -6.0, 0.0, 20.0])
def test_decibels_and_amplitudes_are_one_scale(db):
    assert level.dbfs(level.db_to_amplitude(db)) == pytest.approx(db)
    np.testing.assert_allclose(level.db_to_amplitude(np.array([db, db])), level.db_to_amplitude(db))


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 15.0])
def test_noise_is_scaled_to_a_signal_to_noise_ratio(snr_db):
    rng = np.random.default_rng(0)
    noise, signal = rng.normal(0.0, 0.3, 16_000).astype(np.float32), rng.normal(0.0, 0.01, 8_000).astype(np.float32)
    scaled = level.scale_to_snr(noise, signal, snr_db)
    assert scaled.dtype == np.float32
    assert level.dbfs(level.rms(signal)) - level.dbfs(level.rms(scaled)) == pytest.approx(snr_db, abs=1e-4)
    assert not level.scale_to_snr(np.zeros(10, np.float32), signal, snr_db).any()


def test_the_loudest_stretch_is_found_wherever_it_lies():
    sound = np.full(1_000, 0.01)
    sound[700:800] = 0.5
    assert level.loudest_rms(sound, 100) == pytest.approx(0.5)
    assert level.loudest_rms(sound[750:800], 100) == pytest.approx(0.5)
