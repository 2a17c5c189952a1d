"""The recognizer keeps the contract of a stream: exact however the sound is cut, causal, each row for itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.evaluation.corpus import task_labels
from speechrnn.training.config import Config
from speechrnn.training.network import Recognizer
from tests.support.networks import BLOCK, LABELS, recognizer, sound

CELLS = pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])


pytestmark = pytest.mark.usefixtures("one_thread")


@torch.no_grad()
def rows(model, audio, state=None):
    return model(audio, audio.new_zeros(len(audio), model.state_size) if state is None else state)


@torch.no_grad()
def streamed(model, audio, parts):
    """Rows of the sound given in parts of so many blocks, each from the state that the last one left."""
    state, pieces = audio.new_zeros(len(audio), model.state_size), []
    for part in audio.split([n * model.block_length for n in parts], dim=1):
        piece, state = model(part, state)
        pieces.append(piece)
    return torch.cat(pieces, dim=1), state


@pytest.mark.parametrize("cell", ["bigru", "none"])
def test_what_needs_whole_clips_knows_their_end_at_their_beginning(cell):
    model = recognizer(cell)
    heard, other = sound(20, seed=2), sound(20, seed=3)
    changed = torch.cat([heard[:, : 15 * BLOCK], other[:, 15 * BLOCK :]], dim=1)
    first, second = rows(model, heard)[0], rows(model, changed)[0]
    assert first.shape == (1, 20, len(LABELS))
    torch.testing.assert_close(first.sum(-1), torch.ones(1, 20))
    assert not torch.equal(first[:, 0], second[:, 0])
    torch.testing.assert_close(rows(model, torch.cat([other, heard]))[0][1:], first, atol=1e-5, rtol=0)


@CELLS
@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    parts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    batch=st.integers(1, 3),
)
def test_whole_equals_blocks_equals_any_split(cell, seed, parts, batch):
    model, audio = recognizer(cell, seed), sound(sum(parts), seed, batch)
    whole, state = rows(model, audio)
    assert whole.shape == (batch, sum(parts), len(LABELS))
    for cut in (parts, [1] * sum(parts)):
        pieces, last = streamed(model, audio, cut)
        torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)
        torch.testing.assert_close(last, state, atol=1e-4, rtol=1e-4)


@CELLS
def test_the_default_network_is_exact_in_blocks(cell):
    model, audio = recognizer(cell, 3, Config(), task_labels("12")), sound(60, 3)
    whole, _ = rows(model, audio)
    torch.testing.assert_close(streamed(model, audio, [1] * 60)[0], whole, atol=1e-5, rtol=0)


@CELLS
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), block=st.integers(0, 24))
def test_a_row_depends_on_no_later_block(cell, seed, block):
    model, audio = recognizer(cell, seed), sound(25, seed)
    other = audio.clone()
    other[:, block * BLOCK :] = sound(25 - block, seed + 1) * 3.0
    first, second = rows(model, audio)[0], rows(model, other)[0]
    torch.testing.assert_close(first[:, :block], second[:, :block], atol=1e-6, rtol=0)


@CELLS
@pytest.mark.parametrize("block", [0, 1, 12, 24])
def test_a_row_depends_on_its_own_block(cell, block):
    model, audio = recognizer(cell, 1), sound(25, 1)
    other = audio.clone()
    other[:, block * BLOCK : (block + 1) * BLOCK] *= 30.0
    assert (rows(model, audio)[0] - rows(model, other)[0])[:, block].abs().max() > 1e-4


@CELLS
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_each_row_is_a_distribution(cell, seed):
    probabilities, _ = rows(recognizer(cell, seed), sound(20, seed, batch=2))
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 20), atol=1e-5, rtol=0)
    assert probabilities.std(dim=1).max() > 1e-3  # and not the same one for every sound


@CELLS
def test_rows_of_a_batch_know_nothing_of_each_other(cell):
    """One row starts fresh (a state of zeros), one is in the middle of a stream."""
    model, before, audio = recognizer(cell, 5), sound(30, 6), sound(25, 7, batch=2)
    heard = rows(model, before)[1]
    fresh = torch.zeros_like(heard)
    together, next_state = rows(model, audio, torch.cat([fresh, heard]))
    for row, state in enumerate((fresh, heard)):
        alone, next_alone = rows(model, audio[row : row + 1], state)
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(next_state[row], next_alone[0], atol=1e-4, rtol=1e-4)


@CELLS
def test_what_was_heard_is_in_the_state_and_zeros_forget_it(cell):
    model, audio = recognizer(cell, 8), sound(10, 9)
    first, heard = rows(model, audio)
    again, _ = rows(model, audio, torch.zeros_like(heard))
    carried, _ = rows(model, audio, heard)
    assert torch.equal(again, first)
    assert (carried[:, 0] - first[:, 0]).abs().max() > 1e-3


@CELLS
def test_a_minute_of_silence_stays_finite_and_comes_to_rest(cell):
    model = recognizer(cell, 11)
    _, heard = rows(model, sound(50, 12))
    probabilities, state = rows(model, torch.zeros(1, 3000 * BLOCK), heard)
    assert torch.isfinite(probabilities).all()
    assert torch.isfinite(state).all()
    assert (probabilities[0, -1] - probabilities[0, -500]).abs().max() < 1e-3


@pytest.mark.parametrize("level", [1e-30, 1.0, 1e4])
def test_sound_of_any_level_gives_finite_rows(level):
    probabilities, state = rows(recognizer(), level * sound(50))
    assert torch.isfinite(probabilities).all()
    assert torch.isfinite(state).all()


def test_the_default_network_is_small():
    model = Recognizer(Config(), task_labels("12"))
    assert sum(p.numel() for p in model.parameters()) < 300_000
    assert model.block_length == BLOCK
