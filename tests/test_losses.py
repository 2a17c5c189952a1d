"""The losses ask for what was laid down and nothing more, each as a plain loop computes it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn import decision
from speechrnn.card import SMOOTHING_BLOCKS
from speechrnn.training.losses import (
    FALSE_ACCEPT_BLOCKS,
    block_losses,
    false_accept_losses,
    not_yet,
    smooth,
    symmetric_kl,
    word_logits,
)

LABELS = ("yes", "no", "_unknown_", "_silence_")
UNKNOWN, SILENCE, NEITHER = 2, 3, 4

pytestmark = pytest.mark.usefixtures("one_thread")


def posteriors(rows, blocks, seed):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet([0.3] * len(LABELS), (rows, blocks)))


# blocks


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(0, 9999))
def test_the_loss_of_blocks_is_that_of_a_plain_loop(rows, blocks, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (rows, blocks, len(LABELS)))
    targets = rng.integers(0, NEITHER + 1 + len(LABELS), (rows, blocks))
    costs = []
    for row in range(rows):
        for block in range(blocks):
            posterior = np.exp(logits[row, block]) / np.exp(logits[row, block]).sum()
            target = targets[row, block]
            if target == NEITHER:
                costs.append(-np.log(posterior[UNKNOWN] + posterior[SILENCE]))
            elif target == not_yet(SILENCE, LABELS):
                costs.append(-np.log(2 * posterior[SILENCE]))
            elif target > NEITHER:
                costs.append(-np.log(posterior[target - NEITHER - 1] + posterior[SILENCE]))
            else:
                costs.append(-np.log(posterior[target]))
    losses = block_losses(torch.from_numpy(logits), torch.from_numpy(targets), LABELS)
    np.testing.assert_allclose(losses.numpy(), costs, rtol=1e-6)


def test_neither_asks_for_unknown_and_silence_in_any_proportion():
    def loss(*posterior):
        return float(block_losses(torch.tensor([[posterior]]).log(), torch.tensor([[NEITHER]]), LABELS))

    assert loss(0.1, 0.1, 0.7, 0.1) == pytest.approx(loss(0.1, 0.1, 0.1, 0.7), rel=1e-5)
    assert loss(0.1, 0.1, 0.7, 0.1) == pytest.approx(-np.log(0.8), rel=1e-5)
    assert loss(0.05, 0.05, 0.45, 0.45) < loss(0.1, 0.1, 0.7, 0.1)


def test_before_a_command_has_ended_it_may_be_named_or_not_yet_but_nothing_else_may():
    def loss(*posterior):
        return float(block_losses(torch.tensor([[posterior]]).log(), torch.tensor([[not_yet(0, LABELS)]]), LABELS))

    assert loss(0.7, 0.1, 0.1, 0.1) == pytest.approx(loss(0.1, 0.1, 0.1, 0.7), rel=1e-5)
    assert loss(0.7, 0.1, 0.1, 0.1) == pytest.approx(-np.log(0.8), rel=1e-5)
    assert loss(0.1, 0.1, 0.7, 0.1) == pytest.approx(loss(0.1, 0.7, 0.1, 0.1), rel=1e-5)
    assert loss(0.1, 0.1, 0.7, 0.1) == pytest.approx(-np.log(0.2), rel=1e-5)


# moments


@settings(deadline=None, max_examples=20)
@given(st.integers(SMOOTHING_BLOCKS, 40), st.integers(0, 9999))
def test_smoothing_is_that_of_the_decision(blocks, seed):
    posterior = posteriors(2, blocks, seed)
    for row, smoothed in zip(posterior.numpy(), smooth(posterior).numpy(), strict=True):
        np.testing.assert_allclose(smoothed, decision.smooth(row, SMOOTHING_BLOCKS), atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 70)), min_size=1, max_size=5), st.integers(0, 9999))
def test_a_word_in_a_stream_is_heard_as_the_spotter_hears_its_clip(words, seed):
    posterior, blocks = posteriors(3, 80, seed), 10
    heard = word_logits(posterior, torch.tensor(words), blocks, LABELS).exp().numpy()
    for (row, first), found in zip(words, heard, strict=True):
        expected = decision.clearest(posterior[row, first : first + blocks].numpy(), LABELS, SMOOTHING_BLOCKS)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_stretch_without_a_word_is_judged_by_its_worst_moment():
    """One short false alarm in a long quiet stretch costs as much as the alarm, however long the quiet is."""
    blocks = 2 * FALSE_ACCEPT_BLOCKS + SMOOTHING_BLOCKS - 1
    posterior = torch.tensor([0.0, 0.0, 0.1, 0.9]).repeat(1, blocks, 1)
    posterior[0, 20 : 20 + SMOOTHING_BLOCKS] = torch.tensor([0.75, 0.0, 0.15, 0.1])
    losses = false_accept_losses(posterior, torch.full((1, blocks), SILENCE), LABELS)
    np.testing.assert_allclose(losses, [-np.log(0.25), 0.0], atol=1e-6)


def test_where_a_word_may_be_there_is_no_alarm():
    blocks = 2 * FALSE_ACCEPT_BLOCKS + SMOOTHING_BLOCKS - 1
    posterior = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(1, blocks, 1)
    for target in (0, 1, not_yet(0, LABELS), not_yet(1, LABELS)):
        assert not len(false_accept_losses(posterior, torch.full((1, blocks), target), LABELS))
    for target in (UNKNOWN, SILENCE, NEITHER):
        assert (false_accept_losses(posterior, torch.full((1, blocks), target), LABELS) > 10.0).tolist() == [True, True]
    mixed = torch.full((1, blocks), SILENCE)
    mixed[0, 10:30] = 0
    posterior[0, :10] = posterior[0, 30:] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert false_accept_losses(posterior, mixed, LABELS).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_there_is_something_to_learn_at_the_worst_moment_alone():
    posterior = posteriors(1, FALSE_ACCEPT_BLOCKS + SMOOTHING_BLOCKS - 1, 3).requires_grad_()
    false_accept_losses(posterior, torch.full(posterior.shape[:2], SILENCE), LABELS).sum().backward()
    assert int((posterior.grad.abs().sum(-1) > 0).sum()) == SMOOTHING_BLOCKS


# twins


def test_posteriors_that_agree_do_not_diverge_and_others_do_alike_both_ways():
    first, second = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    assert symmetric_kl(first, first + 5.0) == pytest.approx(0.0, abs=1e-6)  # logits are relative
    p, q = first.softmax(1), second.softmax(1)
    expected = 0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    assert symmetric_kl(first, second) == pytest.approx(float(expected), rel=1e-5)
    assert symmetric_kl(second, first) == pytest.approx(float(expected), rel=1e-5)
