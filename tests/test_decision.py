"""A detector needs the card alone, and decides on posteriors as the spotter does on sound."""

import doctest
from pathlib import Path

import numpy as np
import pytest

import speechrnn
from speechrnn import audio, decision, level, model, spotter
from speechrnn.decision import Detector
from speechrnn.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("module", [audio, decision, level, model, spotter])
def test_the_examples_are_true(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_a_detector_finds_what_a_spotter_finds():
    recogniser = speechrnn.load()
    sound = np.concatenate([audio.load(ROOT / "examples" / f"{word}.wav") for word in ("yes", "no", "go", "stop")])
    settings = {"threshold": 0.3, "smoothing_seconds": 0.06, "refractory_seconds": 0.2, "hysteresis": 0.9}
    hearing = speechrnn.Spotter(recogniser, **settings)
    expected = hearing.process(sound) + hearing.finish()
    detector, found = Detector(recogniser.card, **settings), []
    for rows in np.array_split(recogniser.posteriors(sound), 7):
        found += detector.decide(rows)
    detector.end()
    assert len(expected) >= 3
    assert found == expected
    assert detector.near_misses == hearing.near_misses
    assert detector.seconds == hearing.seconds
    assert detector.pending is None


@pytest.mark.parametrize(
    ("setting", "value"),
    [("smoothing_seconds", 11.0), ("refractory_seconds", -1.0), ("hysteresis", 1.1), ("hysteresis", float("nan"))],
)
def test_a_setting_out_of_its_range_is_named(setting, value):
    with pytest.raises(InputError, match=f"{setting}.*must be 0 to"):
        Detector(speechrnn.load().card, **{setting: value})
