"""Streams with words at known times, and a stand-in for a model that knows them."""

from unittest import mock

import numpy as np
import soundfile

from speechrnn.card import Card
from speechrnn.labels import Label, write_labels
from speechrnn.model import Model
from tests.support.command_line import run

RATE, BLOCK = 16_000, 320


WORDS = ("yes", "no", "go")


LABELS = (*WORDS, "_unknown_", "_silence_")


WORD_SECONDS = 0.4


class FakeStream:
    labels = LABELS

    def __init__(self, model):
        self.model = model
        self.reset()

    def reset(self):
        self.heard = 0  # blocks

    def process(self, samples):
        assert not self.model.broken
        blocks = samples.reshape(1, -1, BLOCK).mean(axis=-1)
        loud = np.rint(16 * blocks).astype(int)
        posteriors = np.zeros((*blocks.shape, len(LABELS)), np.float32)
        for t, word in enumerate(loud[0]):
            deaf = self.heard + t >= self.model.deaf_from
            posteriors[0, t, -1 if deaf or not word else word - 1] = self.model.level
        self.heard += blocks.shape[1]
        return posteriors


class FakeModel(Model):
    """Sure of a word by `level`; deaf after so many blocks of one stream, as a network whose state drifts."""

    def __init__(self, level=1.0, deaf_from=10**9):
        self.level, self.deaf_from, self.broken = level, deaf_from, False
        thresholds = dict.fromkeys(WORDS, 0.7)
        self.card = Card(
            *("fake", LABELS, WORDS, RATE, BLOCK, 1, {}, {}),
            tail_seconds=0.2,
            smoothing_seconds=0.06,
            thresholds=thresholds,
            hysteresis=0.5,
            refractory_seconds=0.5,
            training_data=(),
        )

    def stream(self, batch=1):
        return FakeStream(self)


def spoken(*said, seconds=5.0):
    """Samples in which the words are said at their seconds, and the labels."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    for word, start in said:
        samples[round(start * RATE) : round((start + WORD_SECONDS) * RATE)] = (LABELS.index(word) + 1) / 16
    return samples, tuple(Label(start, start + WORD_SECONDS, word) for word, start in said)


def write(path, *said, labels=None, seconds=5.0):
    samples, track = spoken(*said, seconds=seconds)
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    write_labels(path.with_suffix(".txt"), track if labels is None else labels)
    return path


def score(*arguments, model=None):
    with mock.patch("speechrnn.model.Model", return_value=model or FakeModel()):
        return run("score", *arguments)
