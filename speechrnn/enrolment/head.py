"""The head: what own words add to a network, as numbers and in numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechrnn.card import SILENCE

UNKNOWN = "_unknown_"  # the label of every other word
DELAYS = (0, 8, 16, 24, 36)  # blocks: a word's end alone says too little about how it began


@dataclass(frozen=True)
class Head:
    """Logits of own words: a causal convolution over the states [blocks, units] of the recurrent layers.

    logit[t, word] = bias[word] + sum over k of weights[word, k] @ states[t - delays[k]]; before the start of the sound
    the states are zero.
    """

    words: tuple[str, ...]
    weights: np.ndarray  # float32 [words, delays, units]
    bias: np.ndarray  # float32 [words]
    delays: tuple[int, ...] = DELAYS

    @property
    def memory(self) -> int:
        """How many numbers of the flat state the head needs."""
        return max(self.delays) * len(self.words) * len(self.delays)

    def logits(self, states: np.ndarray) -> np.ndarray:
        """States [blocks, units] of a sound from its start -> logits [blocks, words]."""
        return delayed_product(states, self.weights.transpose(1, 0, 2), self.delays) + self.bias


def delayed_product(states: np.ndarray, weights: np.ndarray, delays: Sequence[int]) -> np.ndarray:
    """Sum over k of weights [delays, outputs, units] @ states [blocks, units], k-th delayed by delays[k] blocks.

    Returns [blocks, outputs], float32.
    """
    count, outputs, units = weights.shape
    product = states.astype(np.float32) @ weights.reshape(count * outputs, units).T.astype(np.float32)
    total = np.zeros((len(states), outputs), np.float32)
    for k, delay in enumerate(delays):
        total[delay:] += product[: max(0, len(states) - delay), k * outputs : (k + 1) * outputs]
    return total


@dataclass(frozen=True)
class Columns:
    """How the labels of an enrolled file come from those of the network and the own words."""

    labels: tuple[str, ...]  # of the enrolled file: kept words, own words, then the labels that are no words
    kept: tuple[int, ...]  # columns of the network's posteriors that stay bit for bit what they are
    dropped: tuple[int, ...]  # words that the file doesn't know any more
    others: tuple[int, ...]  # labels that are no words; the first of them takes what was dropped


def columns(labels: Sequence[str], words: Sequence[str], own: Sequence[str], keep: Sequence[str]) -> Columns:
    """`labels` and `words` are the network's, `keep` those of its words that stay.

    Raises
    ------
    ValueError
        if the network has no label that isn't a word: nothing is left then that an own word could take
    """
    others = [i for i, label in enumerate(labels) if label not in words]
    if not others:
        raise ValueError("has no label beside its words")
    others.sort(key=lambda i: (labels[i] != UNKNOWN, labels[i] == SILENCE))
    kept = [i for i, label in enumerate(labels) if label in words and label in keep]
    dropped = [i for i, label in enumerate(labels) if label in words and label not in keep]
    made = (*(labels[i] for i in kept), *own, *(labels[i] for i in others))
    return Columns(made, tuple(kept), tuple(dropped), tuple(others))


def posteriors(trunk: np.ndarray, logits: np.ndarray, layout: Columns) -> np.ndarray:
    """The network's posteriors [blocks, labels] and own words' logits [blocks, words] -> those of the enrolled file.

    Kept words stay what they are; what they leave is shared between the own words, by a softmax over their logits and
    0, and the labels that are no words. So a row sums to 1, and an own word never takes anything from a kept one.
    """
    highest = np.maximum(logits.max(axis=1, keepdims=True), 0.0)
    powers = np.exp(logits - highest)
    nothing = np.exp(-highest)
    total = powers.sum(axis=1, keepdims=True) + nothing
    kept, others = trunk[:, layout.kept], trunk[:, layout.others].copy()
    if layout.dropped:
        others[:, 0] += trunk[:, layout.dropped].sum(axis=1)
    left = others.sum(axis=1, keepdims=True)
    return np.concatenate([kept, powers / total * left, nothing / total * others], axis=1)
