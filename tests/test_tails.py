"""The digital silence after a sound has one length, whoever appends it: clip, stream, training, C, the page."""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from test_web_modules import by_node

import speechrnn
from speechrnn.evaluation import recordings
from speechrnn.export import c_weights
from speechrnn.export.c_source import program
from speechrnn.export.precision import Precision
from speechrnn.training.config import Config

RATE, BLOCK = 16_000, 320
TAILS = {0.0: 0, 0.39: 20, 0.4: 20, 0.415: 21, 0.43: 22}  # seconds, blocks
LENGTHS = (BLOCK // 2, 50 * BLOCK, 50 * BLOCK + 1)  # samples


@pytest.fixture
def model():
    return speechrnn.load("gru-12-small")


@pytest.mark.parametrize(("seconds", "blocks"), TAILS.items())
def test_a_clip_and_a_stream_have_as_many_blocks(model, seconds, blocks):
    model.card = replace(model.card, tail_seconds=seconds)
    for length in LENGTHS:
        sound = np.random.default_rng(length).normal(0.0, 0.1, length).astype(np.float32)
        spotter = speechrnn.Spotter(model)
        streamed = np.concatenate([spotter.posteriors(sound), spotter.posteriors(spotter.ending())])
        whole = model.posteriors(sound)
        assert len(whole) == -(-length // BLOCK) + blocks
        np.testing.assert_allclose(streamed, whole, atol=1e-6)
        rows = recordings._rows_of(model.card, 1.0, 1.0 + length / RATE)
        assert rows.stop - rows.start == len(whole)


@pytest.mark.parametrize(("seconds", "blocks"), TAILS.items())
def test_training_appends_as_many(seconds, blocks):
    assert Config(tail_seconds=seconds).tail_samples == blocks * BLOCK


def test_the_c_program_counts_as_many(model):
    weights = c_weights.read(model)
    for seconds, blocks in TAILS.items():
        made = program(weights, replace(model.card, tail_seconds=seconds), Precision.float32, "some.onnx")
        assert re.search(rf"#define SPEECHRNN_TAIL_BLOCKS +{blocks}\b", made.files["speechrnn.h"])


def test_the_page_appends_as_many(model):
    cards = [asdict(replace(model.card, tail_seconds=seconds)) for seconds in TAILS]
    script = "return given[0].map((card) => given[1].map((rest) => page.endingLength(card, rest)));"
    expected = [[-rest % BLOCK + blocks * BLOCK for rest in (0, 1, 319)] for blocks in TAILS.values()]
    assert by_node("card.js", script, cards, [0, 1, 319]) == expected
