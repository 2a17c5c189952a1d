"""Sequences for the stream: the targets say what was laid down."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training.config import AugmentConfig
from speechrnn.training.losses import not_yet
from speechrnn.training.sequences import (
    FADE_SECONDS,
    LONGEST_JOINT_SECONDS,
    SPEAK_SECONDS,
    WAIT_SECONDS,
)
from tests.support.talking import (
    BLOCK,
    LABELS,
    LEVELS,
    NEITHER,
    PLAIN,
    SILENCE,
    SPEECH,
    UNKNOWN,
    WORD_BEGINS,
    WORD_ENDS,
    hiss,
    sequences,
    sounds,
)

ANSWERED = WAIT_SECONDS + SPEAK_SECONDS + FADE_SECONDS  # after the end of a word
AROUND = 0.03  # blocks, and the frames by which an extent is found, are no finer

pytestmark = pytest.mark.usefixtures("one_thread")


def batch(rows=20, seed=0, **how):
    sound, targets, _ = sequences(**how).batch(np.random.default_rng(seed), rows)
    return sound.numpy(), targets.numpy()


def laid_down(row):
    """Word, start and end in seconds, in order, of the stretches of constant value in a row of sound."""
    values = np.round(row * 32768).astype(int)
    edges = np.flatnonzero(np.diff(values, prepend=0, append=0))
    found = [(values[a], a / SAMPLE_RATE, b / SAMPLE_RATE) for a, b in itertools.pairwise(edges)]
    named = {level: word for word, level in LEVELS.items()}
    return [(named[value], start, end) for value, start, end in found if value]


def between(targets, start, end):
    """What stands in the blocks that lie wholly in a stretch of time."""
    return set(targets[int(np.ceil(start * 50)) : int(np.floor(end * 50))].tolist())


def runs(targets, label):
    """How many times a label begins."""
    return int((np.diff((targets == label).astype(int), prepend=0) == 1).sum())


# what is laid down


def test_every_word_is_answered_after_its_end():
    said = set()
    for row, targets in zip(*batch(gap_low_seconds=0.6), strict=True):
        words = laid_down(row)
        assert words
        for word, start, end in words:
            said.add(word)
            label = LABELS.index(word) if word in LABELS else UNKNOWN
            during = NEITHER if label == UNKNOWN else not_yet(label, LABELS)
            assert end - start == pytest.approx(WORD_ENDS - WORD_BEGINS, abs=1e-3)
            answer = end + WAIT_SECONDS
            assert between(targets, start + AROUND, answer - AROUND) == {during}
            assert between(targets, answer + AROUND, answer + SPEAK_SECONDS - AROUND) == {label}
            assert between(targets, answer + SPEAK_SECONDS + AROUND, end + ANSWERED - AROUND) == {during}
        for label in range(3):  # and nowhere else
            count = sum((LABELS.index(word) if word in LABELS else UNKNOWN) == label for word, _, _ in words)
            assert runs(targets, label) == count
    assert said == set(LEVELS)


def test_each_word_is_listed_with_its_row_and_the_first_block_of_its_clip():
    sound, _, words = sequences(speech_share=0.3, joined_share=0.2).batch(np.random.default_rng(0), 20)
    found = [tuple(word) for word in words.tolist()]
    rows = [row.numpy() for row in sound]
    expected = [
        (row, int((start - WORD_BEGINS) * 50 + 1e-3), LABELS.index(word) if word in LABELS else UNKNOWN)
        for row in sorted({row for row, _, _ in found})
        for word, start, _ in laid_down(rows[row])
    ]
    assert found == expected
    assert 0 < len({row for row, _, _ in found}) < len(rows)  # speech and words run together are no words


def test_where_no_word_is_there_is_silence():
    for row, targets in zip(*batch(gap_low_seconds=1.0), strict=True):
        end = 0.0
        for _, start, next_end in laid_down(row):
            assert between(targets, end + ANSWERED + AROUND if end else 0.0, start - AROUND) <= {SILENCE}
            end = next_end
        assert between(targets, end + ANSWERED + AROUND, 6.0) <= {SILENCE}
        assert (targets == SILENCE).any()


def test_each_word_has_time_to_be_answered():
    """The last word's answer is in the sequence too."""
    for seed in range(5):
        for row, _ in zip(*batch(seed=seed, seconds=3.0), strict=True):
            assert max(end for _, _, end in laid_down(row)) + WAIT_SECONDS + SPEAK_SECONDS <= 3.0


def test_words_come_in_the_share_asked_for():
    assert {word for row in batch(command_share=1.0)[0] for word, _, _ in laid_down(row)} == {"yes", "no"}
    assert {word for row in batch(command_share=0.0)[0] for word, _, _ in laid_down(row)} == {"bed", "cat"}


def test_without_other_words_there_are_commands_alone():
    sound, targets = batch(heard=sounds(("yes", "no")))
    assert {word for row in sound for word, _, _ in laid_down(row)} == {"yes", "no"}
    assert not np.isin(targets, (UNKNOWN, NEITHER)).any()


def test_running_speech_is_neither():
    sound, targets = batch(40, speech_share=1.0)
    assert (targets == NEITHER).all()
    assert all(0.3 * 0.99 * SPEECH / 32768 < row.max() < 1.8 * SPEECH / 32768 for row in sound)
    heard = (sound != 0).mean(axis=1)
    assert heard.max() > 0.8
    assert heard.min() < 0.6  # in some rows it starts or stops


def test_words_that_are_run_together_are_neither():
    sound, targets = batch(joined_share=1.0)
    assert (targets == NEITHER).all()
    values = np.round(sound * 32768).astype(int)
    for row in values:
        heard = np.flatnonzero(row)
        assert set(row[heard]) <= set(LEVELS.values())
        assert len(heard) > 1.5 * (WORD_ENDS - WORD_BEGINS) * SAMPLE_RATE
        assert np.diff(heard).max() / SAMPLE_RATE <= LONGEST_JOINT_SECONDS + AROUND


def test_noise_alone_is_silence():
    sound, targets = batch(noise_share=1.0)
    assert (targets == SILENCE).all()
    digital = ~sound.any(axis=1)
    assert not digital.all()
    assert not any(len(np.unique(row)) < 100 for row in sound[~digital])  # no constant stretches


@pytest.mark.parametrize("noise", [hiss, lambda rng, samples: None])
def test_without_recordings_of_speech_such_rows_are_silence(noise):
    always = replace(PLAIN, noise_probability=1.0)
    sound, targets = batch(augment=always, heard=sounds(speech=False, noise=noise), speech_share=1.0)
    assert (targets == SILENCE).all()
    assert np.isfinite(sound).all()


def test_noise_lies_under_the_words_in_the_ratio_asked_for():
    plain, targets = batch(command_share=1.0)
    same, noisy_targets = batch(command_share=1.0, augment=replace(PLAIN, noise_probability=1.0, snr_low_db=20.0))
    np.testing.assert_array_equal(noisy_targets, targets)
    for row, clean in zip(same, plain, strict=True):
        noise = row - clean
        ratio = 10 * np.log10(np.square(clean[clean != 0]).mean() / np.square(noise).mean())
        assert 19.9 < ratio < 30.1


shares = st.floats(0, 1 / 3)


@settings(deadline=None, max_examples=6)
@given(shares, shares, shares, st.sampled_from([3.0, 4.21]), st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_shapes_and_ranges_hold_for_all_kinds(speech, joined, noise, seconds, rows, spoken, seed):
    how = {"speech_share": speech, "joined_share": joined, "noise_share": noise, "seconds": seconds}
    sound, targets = batch(rows, seed, augment=AugmentConfig(), heard=sounds(speech=spoken), **how)
    assert targets.shape == (rows, int(seconds * 50))
    assert sound.shape == (rows, targets.shape[1] * BLOCK)
    assert (sound.dtype, targets.dtype) == (np.float32, np.int64)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1.0
    assert targets.min() >= 0
    assert targets.max() <= not_yet(1, LABELS)


def test_the_same_draw_gives_the_same_batch_and_another_draw_another():
    how = {"augment": AugmentConfig(), "speech_share": 0.25, "joined_share": 0.25, "noise_share": 0.25, "seconds": 3.0}
    first, again, other = (batch(6, seed, **how) for seed in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first[0], other[0])


def test_noise_that_starts_and_stops_is_silence():
    sound, targets, words = sequences(heard=sounds(noise=lambda rng, n: np.ones(n, np.float32)), burst_share=1.0).batch(
        np.random.default_rng(0), 10
    )
    assert (targets == SILENCE).all()
    assert {int(label) for label in words[:, 2]} == {SILENCE}
    starts = (np.diff((sound.numpy() != 0.0).astype(int), axis=1) == 1).sum()
    assert 10 < starts <= len(words)
    _, targets, words = sequences(heard=sounds(noise=lambda rng, n: None), burst_share=1.0).batch(
        np.random.default_rng(0), 10
    )
    assert SILENCE not in words[:, 2]  # where there is no noise, words stand instead
