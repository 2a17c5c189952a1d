"""Posteriors written by hand, and a spotter over them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st

from speechrnn.card import Card
from speechrnn.spotter import Spotter

BLOCK, RATE = 320, 16_000


LABELS = ("ja", "nein", "_unknown_", "_silence_")


CARD = Card(
    name="scripted",
    labels=LABELS,
    words=("ja", "nein"),
    sample_rate=RATE,
    block_length=BLOCK,
    state_size=1,
    front_end={},
    network={},
    tail_seconds=0.2,
    smoothing_seconds=0.1,
    thresholds={"ja": 0.501, "nein": 0.651},
    hysteresis=0.8,
    refractory_seconds=0.1,
    training_data=(),
)


class Ear:
    """Stands for the network: the posteriors of a block are its first samples, and a share of the block before."""

    labels = LABELS

    def __init__(self, memory):
        self.memory = memory
        self.reset()

    def reset(self):
        self.before = np.zeros(len(LABELS), np.float32)

    def process(self, samples):
        assert samples.dtype == np.float32
        assert samples.shape[0] == 1
        assert samples.shape[1] % BLOCK == 0
        rows = []
        for block in samples.reshape(-1, BLOCK):
            rows.append(block[: len(LABELS)] * (1 - self.memory) + self.before * self.memory)
            self.before = block[: len(LABELS)].copy()
        return np.array(rows)[None]


def spotter(memory=0.0, **how):
    return Spotter(SimpleNamespace(card=CARD, labels=LABELS, stream=lambda: Ear(memory)), **how)


def at_once(**how):
    """Decides on each block by itself, and may fire in every one."""
    return spotter(**({"smoothing_seconds": 0.0, "refractory_seconds": 0.0} | how))


def sound_of(rows):
    """Sound in which `Ear` hears these posteriors [blocks, labels]."""
    sound = np.zeros((len(rows), BLOCK), np.float32)
    sound[:, : len(LABELS)] = rows
    return sound.ravel()


def script(ja=(), nein=()):
    """Sound of posteriors of two words, block by block."""
    rows = np.zeros((max(len(ja), len(nein)), len(LABELS)))
    rows[: len(ja), 0], rows[: len(nein), 1] = ja, nein
    return sound_of(rows)


# Multiples of 1/64: no mean of them over up to 10 blocks lies on a threshold, so that rounding decides nothing.
posterior = st.integers(0, 64).map(lambda n: n / 64)


stretches = st.lists(st.tuples(posterior, posterior, st.integers(1, 12)), min_size=1, max_size=8)


def sound_of_stretches(parts, odd):
    rows = [(ja, nein, 0, 0) for ja, nein, blocks in parts for _ in range(blocks)]
    return np.concatenate([sound_of(np.array(rows)), np.full(odd, 0.5, np.float32)])
