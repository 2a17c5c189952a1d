"""Own words: what a head computes, how its file behaves, and what is said before it is written."""

import dataclasses
import io

import numpy as np
import pytest
import soundfile

import speechrnn
from speechrnn import audio
from speechrnn.card import file_content
from speechrnn.enrolment import background, graph, takes, thresholds
from speechrnn.enrolment.background import Background
from speechrnn.enrolment.enrol import Enroller
from speechrnn.enrolment.expectation import estimate
from speechrnn.enrolment.fitting import Moments, features
from speechrnn.enrolment.head import DELAYS, Head, columns, posteriors
from speechrnn.enrolment.trunk import Trunk
from speechrnn.errors import AudioError, InputError
from tests.support.command_line import run

RATE = 16_000
BLOCK = 320


@pytest.fixture(scope="module")
def model():
    return speechrnn.load()


@pytest.fixture(scope="module")
def trunk(model):
    return Trunk(model)


@pytest.fixture(scope="module")
def head(trunk):
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((2, len(DELAYS), trunk.units)).astype(np.float32) * 0.3
    return Head(("computer", "lights on"), weights, np.array([-1.0, -2.0], np.float32))


@pytest.fixture(scope="module")
def sound():
    clips = [audio.load(f"examples/{name}.wav") for name in ("stop", "marvin", "go", "left")]
    whole = np.concatenate(clips)
    return whole[: len(whole) // BLOCK * BLOCK]


def written(model, head, keep, path):
    layout = columns(model.labels, model.card.words, head.words, keep)
    proto = graph.with_head(model.content, model.card, head, layout, "test")
    card = graph.card_with_head(model.card, head, layout, dict.fromkeys(head.words, 0.5), {})
    path.write_bytes(file_content(proto, card, "test"))
    return speechrnn.load(path), layout


@pytest.fixture(params=["all", "none", "some"])
def enrolled(request, model, head, tmp_path):
    keep = {"all": model.card.words, "none": (), "some": ("stop", "left")}[request.param]
    return (*written(model, head, keep, tmp_path / "mine.onnx"), keep)


def coded(sound):
    """FLAC, which is quicker than what the shipped pack has."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sound, -1.0, 1.0), RATE, format="FLAC")
    return buffer.getvalue()


# what a head computes


def test_file_computes_what_numpy_does(model, trunk, head, enrolled, sound):
    made, layout, _ = enrolled
    [run_] = trunk.run([sound])
    rows = trunk.session.run(
        trunk.names, {"audio": sound[None], "state": np.zeros((1, model.card.state_size), np.float32)}
    )
    states = np.concatenate(rows, axis=2)[:, 0]
    expected = posteriors(model.stream().process(sound[None])[0], head.logits(states), layout)
    got = made.stream().process(sound[None])[0]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=1e-5)
    assert run_.states.shape == states.shape


def test_whole_equals_blocks(enrolled, sound):
    made = enrolled[0]
    whole = made.stream().process(sound[None])
    for length in (1, 7, 50):
        stream = made.stream()
        pieces = [
            stream.process(sound[None, start : start + length * BLOCK])
            for start in range(0, len(sound), length * BLOCK)
        ]
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-5)


def test_kept_words_are_bit_for_bit_what_they_were(model, enrolled, sound):
    made, _, keep = enrolled
    before, after = model.stream().process(sound[None])[0], made.stream().process(sound[None])[0]
    for word in keep:
        np.testing.assert_array_equal(after[:, made.labels.index(word)], before[:, model.labels.index(word)])
    assert made.card.words == (*(word for word in model.card.words if word in keep), "computer", "lights on")


def test_several_sounds_side_by_side(enrolled, sound):
    made = enrolled[0]
    batch = np.stack([sound, sound[::-1]]).astype(np.float32)
    both = made.stream(2).process(batch)
    for row, one in zip(both, batch, strict=True):
        np.testing.assert_allclose(made.stream().process(one[None])[0], row, atol=1e-5)


def test_a_second_head_goes_on_top_of_a_first(model, head, tmp_path, sound):
    first, _ = written(model, head, model.card.words, tmp_path / "first.onnx")
    other = dataclasses.replace(head, words=("jarvis", "print"), bias=head.bias - 1.0)
    second, _ = written(first, other, first.card.words, tmp_path / "second.onnx")
    before, after = first.stream().process(sound[None])[0], second.stream().process(sound[None])[0]
    for word in first.card.words:
        np.testing.assert_array_equal(after[:, second.labels.index(word)], before[:, first.labels.index(word)])


def test_each_word_costs_little(model, head, tmp_path):
    made, _ = written(model, head, model.card.words, tmp_path / "mine.onnx")
    assert (made.path.stat().st_size - model.path.stat().st_size) / 2 < 20_000
    assert made.card.state_size - model.card.state_size == 2 * max(DELAYS) * len(DELAYS)


def test_streams_side_by_side_are_one_stream(trunk, sound):
    long = np.tile(sound, 30)
    [whole] = trunk.run([long])
    split = trunk.stream(long)
    assert split.states.shape == whole.states.shape
    difference = np.abs(split.posteriors - whole.posteriors).max(axis=1)
    assert np.mean(difference < 1e-2) > 0.95  # but for what the first second of each stream can't know


def test_features_before_the_start_are_zero():
    states = np.arange(1.0, 61.0)[:, None]
    made = features(states, np.array([0, 20, 59]))
    np.testing.assert_array_equal(made, [[1, 0, 0, 0, 0], [21, 13, 5, 0, 0], [60, 52, 44, 36, 24]])


def test_direction_is_that_of_a_discriminant():
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((6, 6))
    moments = Moments(np.zeros(6), mix @ mix.T + np.eye(6))
    [weights] = moments.directions(np.ones((1, 6)))
    exact = np.linalg.solve(moments.covariance, np.ones(6))
    assert np.corrcoef(weights, exact)[0, 1] > 0.97


# thresholds and promises


def test_tail_extrapolates_an_exponential_rate():
    rng = np.random.default_rng(2)
    made = thresholds.tail(rng.exponential(3.0, 20_000), 3.0 / thresholds.DEVIATIONS)
    # A second is above x with probability exp(-x / 3): 3600 times that in an hour.
    assert made.logit(0.1) == pytest.approx(3.0 * np.log(3600 / 0.1), rel=0.15)
    assert made.per_hour(made.logit(0.5)) == pytest.approx(0.5)


def test_interval_narrows_with_the_number_of_takes():
    few, many = estimate(5, 5), estimate(50, 50)
    assert few.low < many.low < many.share < 1.0
    assert few.low < few.share < few.high
    assert 0.3 < estimate(10, 20).low < 0.5 < estimate(10, 20).high < 0.72


# takes


def burst(seconds, level=0.3, seed=0):
    return level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def silence(seconds):
    return 1e-3 * np.random.default_rng(9).standard_normal(round(seconds * RATE))


def test_takes_are_split_with_their_endpoints():
    recording = np.concatenate(
        [silence(1.0), burst(0.5), silence(0.8), burst(0.3), silence(0.2), burst(0.3), silence(1.5)]
    )
    first, second = takes.split(recording.astype(np.float32), "two.wav")
    assert (first.start, first.end) == (pytest.approx(1.0, abs=0.03), pytest.approx(1.5, abs=0.03))
    assert second.seconds == pytest.approx(0.8, abs=0.05)  # the pause of a phrase doesn't split it
    assert second.name == "two.wav at 2.3 s"
    assert len(first.sound) <= 2.2 * RATE  # nothing of the other take


def test_a_faint_stretch_is_no_take():
    recording = np.concatenate([silence(1.0), burst(0.2, 0.02), silence(0.8), burst(0.5), silence(0.6)])
    assert len(takes.split(recording.astype(np.float32), "breath.wav")) == 1


@pytest.mark.parametrize(
    ("recording", "why"),
    [
        (silence(2.0), "nothing in it stands out"),
        (np.concatenate([silence(1.0), burst(4.0), silence(1.0)]), "lasts 4.0"),
        (np.concatenate([silence(1.0), burst(0.03), silence(1.0)]), "record it again"),
        (burst(0.05), "too short"),
    ],
)
def test_what_is_no_take_is_named(recording, why):
    with pytest.raises(AudioError, match=f"bad.wav: .*{why}"):
        takes.split(recording.astype(np.float32), "bad.wav")


# the pack


def test_pack_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((500, 20)) @ rng.standard_normal((20, 20))
    moments = Moments(rows.mean(axis=0), np.cov(rows.T))
    pack = Background({"noise": coded(burst(1.0).astype(np.float32))}, {"abc": moments}, "by somebody")
    pack.save(tmp_path / "pack.npz")
    read = background.load(tmp_path / "pack.npz")
    np.testing.assert_allclose(read.moments["abc"].covariance, moments.covariance, rtol=1e-3, atol=1e-3)
    assert len(audio.load(read.sounds["noise"])) == RATE
    assert read.attribution == "by somebody"


def test_no_pack_is_one_line(tmp_path):
    (tmp_path / "pack.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"pack\.npz: is no background pack"):
        background.load(tmp_path / "pack.npz")


def test_shipped_pack_knows_the_shipped_networks(model):
    pack = background.load()
    assert {Trunk(model).fingerprint, Trunk(speechrnn.load("gru-12-small")).fingerprint} == set(pack.moments)
    assert background.FILE.stat().st_size <= 8_000_000
    assert "CC BY" in pack.attribution


# all of it, on real words


@pytest.fixture(scope="module")
def clips(validation_folder):
    """Of validation speakers, clips of two words that don't belong to the ten."""
    return {word: sorted((validation_folder / word).glob("*.wav")) for word in ("happy", "bed", "cat", "stop", "no")}


@pytest.fixture(scope="module")
def enroller(model):
    return Enroller(model)


def test_a_trunk_that_the_pack_does_not_know_learns_from_its_sound(model):
    pack = Background({"a": coded(burst(30.0)), "noise": coded(silence(30.0))})
    moments, runs, noise = background.moments_and_runs(Trunk(model), pack)
    assert len(noise) == 30 * RATE
    assert moments.mean.shape == (len(DELAYS) * Trunk(model).units,)
    assert {kind: len(run.states) for kind, run in runs.items()} == {"a": 750, "noise": 750}


@pytest.fixture(scope="module")
def mine(enroller, clips, tmp_path_factory):
    given, remarks = takes.read(clips["happy"][:10])
    assert not remarks
    made = enroller.enrol({"cheerful": given})
    path = tmp_path_factory.mktemp("mine") / "mine.onnx"
    path.write_bytes(made.content)
    return made, speechrnn.load(path)


@pytest.mark.slow
def test_enrolled_word_is_heard_from_others_and_little_else(mine, clips):
    _, model = mine
    spotter = speechrnn.Spotter(model, words=["cheerful"])

    def fires(path):
        spotter.reset()
        return bool(
            spotter.process(np.concatenate([np.zeros(RATE // 2, np.float32), audio.load(path)])) + spotter.finish()
        )

    assert np.mean([fires(path) for path in clips["happy"][20:60]]) > 0.8
    assert np.mean([fires(path) for word in ("bed", "no", "stop") for path in clips[word][:20]]) < 0.1


@pytest.mark.slow
def test_enrolled_word_is_the_label_of_a_clip(mine, clips):
    _, model = mine
    assert np.mean([model.classify(path).label == "cheerful" for path in clips["happy"][20:50]]) > 0.7
    assert np.mean([model.classify(path).label == "stop" for path in clips["stop"][:20]]) > 0.8


@pytest.mark.slow
def test_report_says_what_to_expect(mine):
    made, model = mine
    [report] = made.reports
    assert str(report).startswith("cheerful: 10 takes; expect about ")
    assert 0.6 < report.clean.low < report.clean.share <= 1.0
    assert model.card.figures["own_words"]["cheerful"]["takes"] == 10
    assert not report.refusal


@pytest.mark.slow
def test_same_takes_give_the_same_file(enroller, clips):
    given, _ = takes.read(clips["bed"][:4])
    one, two = (enroller.enrol({"bed": given}, force=True).content for _ in range(2))
    assert one == two


@pytest.mark.slow
def test_takes_that_have_nothing_in_common_are_refused_unless_forced(enroller, validation_folder):
    mixed = [min(folder.glob("*.wav")) for folder in sorted(validation_folder.glob("[!_]*/"))]
    given, _ = takes.read(mixed)
    with pytest.raises(InputError, match="can't be told from speech: of"):
        enroller.enrol({"anything": given})
    [report] = enroller.enrol({"anything": given}, force=True).reports
    assert report.clean.share < 0.6


@pytest.mark.slow
def test_what_must_not_fire_fires_less(enroller, clips):
    given, _ = takes.read(clips["happy"][:6])
    unwanted, _ = takes.read(clips["cat"][:15])
    runs = enroller.trunk.run([take.sound for take in takes.read(clips["cat"][20:50])[0]])

    def fires(made):
        level = np.log(made.thresholds["cheerful"] / (1.0 - made.thresholds["cheerful"]))
        return np.mean([made.head.logits(run_.states).max() >= level for run_ in runs])

    without, with_them = enroller.enrol({"cheerful": given}), enroller.enrol({"cheerful": given}, negatives=unwanted)
    assert fires(with_them) <= fires(without)
    assert with_them.reports[0].clean.share > 0.6


@pytest.mark.slow
def test_words_alike_are_warned_of(enroller, clips):
    given, _ = takes.read(clips["happy"][:16])
    made = enroller.enrol({"one": given[:8], "two": given[8:]}, force=True)
    assert any("is close to two" in warning for warning in made.reports[0].warnings)
    kept, _ = takes.read(clips["stop"][:6])
    again = enroller.enrol({"halt": kept}, force=True)
    assert any("is close to stop" in warning for warning in again.reports[0].warnings)


@pytest.mark.slow
def test_names_that_cannot_be_are_refused(enroller, clips):
    given, _ = takes.read(clips["happy"][:3])
    for word, why in (("stop", "is a label"), ("-x", "begins with a dash"), ("happy\n", "control|space")):
        with pytest.raises(InputError, match=why):
            enroller.enrol({word: given})
    with pytest.raises(InputError, match="is not a word of this model"):
        enroller.enrol({"cheerful": given}, keep=["perhaps"])
    with pytest.raises(InputError, match="has 1 usable take:"):
        enroller.enrol({"cheerful": given[:1]})


# the command


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["computer"], "computer: give a word and its recordings"),
        (["computer=nowhere.wav"], "nowhere.wav: is not there"),
        (["a=examples/go.wav", "a=examples/no.wav"], "named twice"),
        (["a=examples/go.wav"], "a: has 1 usable take"),
    ],
)
def test_bad_arguments_are_one_line(arguments, why, tmp_path):
    shown = run("enroll", *arguments, "-o", tmp_path / "mine.onnx")
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert why in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    assert not (tmp_path / "mine.onnx").exists()


def test_command_says_what_it_leaves_out(tmp_path):
    soundfile.write(tmp_path / "quiet.wav", silence(2.0), RATE)
    shown = run("enroll", f"a={tmp_path}/quiet.wav", "-o", tmp_path / "mine.onnx")
    assert "quiet.wav: nothing in it stands out" in shown.stderr
