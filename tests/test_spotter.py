"""Posteriors become detections, the same however the sound is cut; what is kept for the next block never grows."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import speechrnn
from speechrnn.card import Card
from speechrnn.cli.spotting import make_spotter
from speechrnn.decision import clearest
from speechrnn.errors import InputError
from speechrnn.model import Model
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


def blocks_of(detections):
    """Label and number of the block that decided."""
    return [(d.label, round(d.time * RATE / BLOCK) - 1) for d in detections]


def in_chunks(hearing, sound, sizes):
    """Detections in the sound, given in pieces of these sizes, again and again, and at its end."""
    found, start, turn = [], 0, 0
    while start < len(sound):
        found += hearing.process(sound[start : start + sizes[turn % len(sizes)]])
        start += sizes[turn % len(sizes)]
        turn += 1
    return found + hearing.finish()


# the same however the sound is cut


# Multiples of 1/64: no mean of them over up to 10 blocks lies on a threshold, so that rounding decides nothing.
posterior = st.integers(0, 64).map(lambda n: n / 64)
stretches = st.lists(st.tuples(posterior, posterior, st.integers(1, 12)), min_size=1, max_size=8)


def sound_of_stretches(parts, odd):
    rows = [(ja, nein, 0, 0) for ja, nein, blocks in parts for _ in range(blocks)]
    return np.concatenate([sound_of(np.array(rows)), np.full(odd, 0.5, np.float32)])


@settings(deadline=None, max_examples=60)
@given(
    stretches,
    st.integers(0, BLOCK - 1),
    st.sampled_from([0.0, 0.04, 0.1, 0.16]),
    st.sampled_from([[1], [7], [160], [320], [1000], [16000]]) | st.lists(st.integers(1, 3000), min_size=1, max_size=9),
)
def test_the_size_of_the_pieces_changes_nothing(parts, odd, smoothing, sizes):
    sound = sound_of_stretches(parts, odd)
    whole, pieces = (spotter(memory=0.25, smoothing_seconds=smoothing) for _ in range(2))
    expected = in_chunks(whole, sound, [len(sound)])
    found = in_chunks(pieces, sound, sizes)
    assert [(d.label, d.time) for d in found] == [(d.label, d.time) for d in expected]
    assert [d.probability for d in found] == pytest.approx([d.probability for d in expected])
    assert pieces.seconds == whole.seconds
    np.testing.assert_allclose(pieces.posterior, whole.posterior)


@pytest.mark.parametrize("size", [1, 7, 160, 320, 1000, 16_000])
def test_words_are_found_in_pieces_of_every_size(size):
    sound = script(ja=[0] * 10 + [1] * 12 + [0] * 60, nein=[0] * 40 + [1] * 12 + [0] * 30)
    found = in_chunks(spotter(), sound, [size])
    assert [d.label for d in found] == ["ja", "nein"]


def plainly(rows, upper, lower, window, refractory):
    """What the description of `Spotter` says, block by block."""
    found, armed, last = [], [True] * len(upper), -refractory
    padded = np.concatenate([np.zeros((window - 1, rows.shape[1])), rows])
    for block in range(len(rows)):
        mean = padded[block : block + window].mean(axis=0)
        ready = [w for w in range(len(upper)) if armed[w] and mean[w] >= upper[w]]
        if ready and block >= last + refractory:
            word = max(ready, key=lambda w: mean[w])
            found.append((word, block))
            armed[word], last = False, block
        for word in range(len(upper)):
            armed[word] = armed[word] or mean[word] < lower[word]
    return found


@settings(deadline=None, max_examples=100)
@given(stretches, st.sampled_from([1, 3, 5]), st.integers(0, 20))
def test_detections_are_what_the_description_says(parts, window, refractory):
    rows = np.array([(ja, nein) for ja, nein, blocks in parts for _ in range(blocks)])
    hearing = spotter(smoothing_seconds=window * 0.02, refractory_seconds=refractory * 0.02)
    found = hearing.process(sound_of_stretches(parts, 0))
    expected = plainly(rows, (0.501, 0.651), (0.4008, 0.5208), window, refractory)
    assert blocks_of(found) == [(LABELS[word], block) for word, block in expected]


# when a word is detected


def test_a_detection_is_at_the_end_of_its_block_with_the_smoothed_posterior():
    [found] = spotter().process(script(ja=[0] * 10 + [1] * 5))
    assert found.label == "ja"
    assert found.time == pytest.approx(13 * BLOCK / RATE)  # three of five blocks are more than a half
    assert found.probability == pytest.approx(0.6)


def test_before_the_first_block_there_was_nothing():
    assert spotter().process(script(ja=[1, 1])) == []
    assert blocks_of(spotter().process(script(ja=[1, 1, 1]))) == [("ja", 2)]


def test_a_posterior_on_the_threshold_is_enough():
    assert len(at_once(threshold=0.5).process(script(ja=[0.5]))) == 1
    assert at_once(threshold=0.5).process(script(ja=[0.4999])) == []


def test_a_word_fires_again_only_when_it_has_fallen_below_the_hysteresis():
    heard = script(ja=[0.9, 0.6, 0.9, 0.41, 0.9, 0.39, 0.9, 0.9])
    assert blocks_of(at_once(threshold=0.8, hysteresis=0.5).process(heard)) == [("ja", 0), ("ja", 6)]
    assert [block for _, block in blocks_of(at_once(threshold=0.8, hysteresis=1.0).process(heard))] == [0, 2, 4, 6]


def test_in_the_refractory_nothing_fires_and_a_word_that_goes_on_fires_after_it():
    hearing = at_once(refractory_seconds=0.2)  # ten blocks
    short, long = [0, 0, 1, 1] + [0] * 8, [0, 0] + [1] * 10
    assert blocks_of(hearing.process(script(ja=[1], nein=short))) == [("ja", 0)]
    hearing.reset()
    assert blocks_of(hearing.process(script(ja=[1], nein=long))) == [("ja", 0), ("nein", 10)]


def test_the_refractory_holds_for_the_same_word_too():
    on_and_off = script(ja=[1, 0] * 20)
    assert [b for _, b in blocks_of(at_once(refractory_seconds=0.24).process(on_and_off))] == [0, 12, 24, 36]


def test_of_two_words_in_a_block_the_clearer_one_fires():
    heard = script(ja=[0.7, 0.7], nein=[0.8, 0.8])
    assert blocks_of(at_once(refractory_seconds=10).process(heard)) == [("nein", 0)]
    assert blocks_of(at_once().process(heard)) == [("nein", 0), ("ja", 1)]


def test_labels_that_are_no_words_are_never_detected():
    rows = np.zeros((50, len(LABELS)))
    rows[10:30, 2], rows[30:, 3] = 1.0, 1.0
    assert at_once(threshold=0.1).process(sound_of(rows)) == []


# settings


def test_thresholds_are_the_cards_then_one_for_all_then_those_of_single_words():
    assert spotter().thresholds == {"ja": 0.501, "nein": 0.651}
    assert spotter(threshold=0.3).thresholds == {"ja": 0.3, "nein": 0.3}
    assert spotter(thresholds={"nein": 1.0}).thresholds == {"ja": 0.501, "nein": 1.0}
    assert spotter(threshold=0.3, thresholds={"ja": 0.9}).thresholds == {"ja": 0.9, "nein": 0.3}


def test_each_word_has_its_own_threshold():
    rising = np.linspace(0, 1, 51)
    found = at_once(thresholds={"ja": 0.399, "nein": 0.799}).process(script(ja=rising, nein=rising))
    assert blocks_of(found) == [("ja", 20), ("nein", 40)]


def test_only_the_words_that_were_asked_for_are_heard():
    heard = script(ja=[1, 0, 0, 0], nein=[0, 0, 1, 0])
    assert blocks_of(at_once(words=["nein", "nein"]).process(heard)) == [("nein", 2)]
    assert blocks_of(at_once(words=["nein", "ja"]).process(heard)) == [("ja", 0), ("nein", 2)]
    assert spotter(words=["nein"], thresholds={"ja": 0.2}).thresholds == {"nein": 0.651}


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"words": []}, "words"),
        ({"words": ["ja", "doch"]}, "doch"),
        ({"words": ["_unknown_"]}, "_unknown_"),
        ({"thresholds": {"doch": 0.5}}, "doch"),
        ({"thresholds": {"nein": 1.01}}, "nein"),
        ({"threshold": 0.0}, "0"),
        ({"threshold": -1.0}, "-1"),
        ({"threshold": 1.5}, "1.5"),
        ({"threshold": float("nan")}, "nan"),
        ({"smoothing_seconds": -0.1}, "smoothing"),
        ({"smoothing_seconds": 11.0}, "smoothing"),
        ({"smoothing_seconds": float("nan")}, "smoothing"),
        ({"refractory_seconds": -0.1}, "refractory"),
        ({"refractory_seconds": float("inf")}, "refractory"),
        ({"hysteresis": -0.1}, "hysteresis"),
        ({"hysteresis": 1.1}, "hysteresis"),
        ({"hysteresis": float("nan")}, "hysteresis"),
    ],
    ids=str,
)
def test_a_bad_setting_is_refused_in_a_line(how, named):
    with pytest.raises(InputError) as caught:
        spotter(**how)
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_package_has_it_by_name():
    assert speechrnn.Spotter is Spotter
    assert not hasattr(speechrnn, "Listener")


# state


@pytest.mark.parametrize("odd", [0, 1, 319])
def test_a_reset_forgets_everything(odd):
    first = np.concatenate([script(ja=[0] * 5 + [1] * 8), np.full(odd, 0.7, np.float32)])
    second = script(ja=[1] * 4 + [0] * 20 + [1] * 9, nein=[0] * 12 + [1] * 9)
    used, fresh = spotter(memory=0.25), spotter(memory=0.25)
    assert used.process(first)  # a word in its refractory, posteriors to smooth, a piece of a block
    used.reset()
    assert used.seconds == 0.0
    assert not used.posterior.any()
    assert used.process(second) == fresh.process(second)
    np.testing.assert_array_equal(used.posterior, fresh.posterior)
    assert used.seconds == fresh.seconds == pytest.approx(33 * 0.02)


def test_a_word_at_the_very_end_is_heard_out():
    hearing = spotter()
    sound = script(ja=[0] * 5 + [1] * 3)[: 7 * BLOCK + 10]  # the third block has only begun
    assert hearing.process(sound) == []
    assert blocks_of(hearing.finish()) == [("ja", 7)]
    assert hearing.seconds == pytest.approx(8 * 0.02 + CARD.tail_seconds)


def test_no_sound_decides_nothing():
    hearing = spotter()
    assert hearing.process(np.zeros(0, np.float32)) == []
    assert hearing.process(np.zeros(BLOCK - 1, np.float32)) == []
    assert hearing.seconds == 0.0


def kept(hearing):
    """Bytes of all arrays that are held on to, whole arrays where only a view is kept."""
    arrays = [value for value in vars(hearing).values() if isinstance(value, np.ndarray)]
    assert len(arrays) > 3
    return sum((array if array.base is None else array.base).nbytes for array in arrays)


def test_what_is_kept_does_not_grow():
    hearing, sound = spotter(), script(ja=([0] * 40 + [1] * 10) * 100)
    hearing.process(sound[:BLOCK])
    at_first = kept(hearing)
    for size in (len(sound), 10 * BLOCK, 50 * BLOCK + 7, BLOCK):
        hearing.process(sound[:size])
        assert kept(hearing) <= at_first + 4 * BLOCK  # and what is left of a block


def test_what_was_heard_may_be_overwritten():
    """A microphone fills the same buffer again and again."""
    sound, buffer = script(ja=[0] * 10 + [1] * 10 + [0] * 10), np.zeros(100, np.float32)
    hearing, found = spotter(), []
    for start in range(0, len(sound), 100):
        buffer[:] = sound[start : start + 100]
        found += hearing.process(buffer)
        buffer[:] = 9.0
    assert found == spotter().process(sound)


# clips


def decided(rows):
    model = SimpleNamespace(labels=LABELS, card=CARD)
    return Model.decide(model, np.asarray(rows, np.float32))


def test_a_clip_says_what_it_says_at_its_clearest_moment():
    rows = np.tile([0.0, 0.0, 0.1, 0.9], (60, 1))
    rows[20:30] = [0.7, 0.1, 0.1, 0.1]
    rows[40:48] = [0.1, 0.2, 0.6, 0.1]
    result = decided(rows)
    assert (result.label, result.probability) == ("ja", pytest.approx(0.7))
    assert result.posterior == pytest.approx({"ja": 0.7, "nein": 0.1, "_unknown_": 0.1, "_silence_": 0.1})
    assert list(result.posterior.values()) == sorted(result.posterior.values(), reverse=True)


def test_a_peak_of_a_single_block_is_smoothed_away():
    rows = np.tile([0.0, 0.1, 0.1, 0.8], (60, 1))
    rows[20] = [1.0, 0.0, 0.0, 0.0]
    assert decided(rows).label == "_silence_"
    assert decided(rows).posterior["ja"] == pytest.approx(0.2)


@pytest.mark.parametrize("blocks", [1, 3, 5, 60])
def test_a_clip_without_a_word_is_silence(blocks):
    result = decided(np.tile([0.01, 0.01, 0.03, 0.95], (blocks, 1)))
    assert (result.label, result.probability) == ("_silence_", pytest.approx(0.95))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(0, 999))
def test_no_moment_is_clearer_than_the_one_that_decides(blocks, seed):
    rows = np.random.default_rng(seed).dirichlet(np.full(len(LABELS), 0.2), blocks)
    window = min(5, blocks)
    means = [rows[i : i + window].mean(axis=0) for i in range(blocks - window + 1)]
    clear = clearest(rows, LABELS, 5)
    assert clear[:3].max() == pytest.approx(max(mean[:3].max() for mean in means))
    assert any(np.allclose(clear, mean) for mean in means)


# the options of the command line


def test_options_make_a_spotter():
    model = SimpleNamespace(card=CARD, labels=LABELS, stream=lambda: Ear(0.0))
    assert make_spotter(model, None, None).thresholds == CARD.thresholds
    assert make_spotter(model, ["0.3"], None).thresholds == {"ja": 0.3, "nein": 0.3}
    assert make_spotter(model, ["nein=0.9", "0.3"], "ja, nein,").thresholds == {"ja": 0.3, "nein": 0.9}
    assert make_spotter(model, [" ja = 0.25"], "ja").thresholds == {"ja": 0.25}


@pytest.mark.parametrize(
    ("threshold", "words", "named"),
    [
        (["high"], None, "--threshold high"),
        (["ja="], None, "--threshold ja="),
        (["0.5=ja"], None, "--threshold 0.5=ja"),
        (["2"], None, "2"),
        (["ja=0"], None, "ja"),
        (["ja=nan"], None, "ja"),
        (["doch=0.5"], None, "doch"),
        (None, "doch", "doch"),
        (None, ",", "words"),
    ],
)
def test_options_that_are_no_good_are_named(threshold, words, named):
    with pytest.raises(InputError) as caught:
        make_spotter(SimpleNamespace(card=CARD, labels=LABELS, stream=lambda: Ear(0.0)), threshold, words)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
