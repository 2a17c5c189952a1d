"""A calibrated file believes itself as far as it is right, and its thresholds keep to the wanted rate."""

import itertools
import json
from dataclasses import replace
from unittest import mock

import numpy as np
import onnx
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import speechrnn
from data_scripts import make_stream
from speechrnn.cli.calibrate import calibrate as calibrate_verb
from speechrnn.errors import InputError, ModelError
from speechrnn.evaluation.calibration import tempered
from speechrnn.evaluation.corpus import Clip
from speechrnn.evaluation.scoring import CachedPosteriors, Score, WordCounts, judge
from speechrnn.export import calibrate, prior, quantize, temperature, thresholds
from speechrnn.export.precision import Weights
from speechrnn.labels import Label
from speechrnn.spotter import Spotter
from tests.support.clips import VALIDATION, little_of_everything, said
from tests.support.command_line import ROOT, refused, run
from tests.support.made_streams import LABELS, WORDS, FakeModel, spoken
from tests.support.sound_kinds import sound

# the temperature


def clips_of_a_model_that_is_too_sure(factor, count=500):
    """Each clip is what its posterior says it is by chance; its logits are then `factor` times what they should be."""
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.standard_normal((count, len(LABELS)))
    chances = tempered(np.exp(logits), 1.0)
    truth = [rng.choice(len(LABELS), p=row) for row in chances]
    clips = [Clip(ROOT / f"{i % 20:08x}_nohash_{i}.wav", LABELS[t], LABELS[t]) for i, t in enumerate(truth)]
    rows = tempered(chances, 1.0 / factor)
    return clips, [np.repeat(row[None], 10, axis=0).astype(np.float32) for row in rows]


@pytest.fixture(scope="module")
def fake():
    model = FakeModel()
    model.card = replace(model.card, labels=(*WORDS, "_unknown_", "other"))  # none of them is silence
    return model


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_the_temperature_is_what_the_logits_are_too_large_by(fake, factor):
    clips, posteriors = clips_of_a_model_that_is_too_sure(factor)
    clips = [replace(c, label=fake.labels[LABELS.index(c.label)]) for c in clips]
    found = temperature.fit(fake, clips, posteriors)
    assert found.temperature == pytest.approx(factor, rel=0.1)
    assert found.helps
    assert found.after.error < 0.5 * found.before.error
    assert found.after.negative_log_likelihood < found.before.negative_log_likelihood
    assert 0 < len(found.before.right) < len(clips)


def test_it_is_judged_on_speakers_that_it_was_not_fitted_on(fake):
    """Clips of every other speaker are taken for something else with certainty: no temperature of the rest sees it."""
    clips, posteriors = clips_of_a_model_that_is_too_sure(1.0)
    clips = [replace(c, label=fake.labels[LABELS.index(c.label)]) for c in clips]
    plain = temperature.fit(fake, clips, posteriors)
    odd = [int(c.path.name[:8], 16) % 2 == 1 for c in clips]
    wrong = [replace(c, label="nothing") if o else c for c, o in zip(clips, odd, strict=True)]
    model_labels = (*fake.labels[:-1], "nothing")
    other = FakeModel()
    other.card = replace(fake.card, labels=model_labels)
    wrong = [replace(c, label="nothing") if c.label == "other" else c for c in wrong]
    found = temperature.fit(other, wrong, posteriors)
    assert found.temperature == plain.temperature
    assert found.before.error > plain.before.error + 0.2


def test_clips_of_one_speaker_are_refused(fake):
    with pytest.raises(InputError, match="several speakers"):
        temperature.fit(fake, [Clip(ROOT / "a_nohash_0.wav", "yes", "yes")], [np.full((5, 5), 0.2, np.float32)])


@pytest.mark.parametrize("degree", [0.7, 1.6])
def test_a_graph_with_a_temperature_divides_its_logits_and_nothing_else(degree):
    model = speechrnn.load()
    before, proto = onnx.load(model.path), onnx.load(model.path)
    temperature.apply(proto, degree, "x")
    new = calibrate._loaded(proto, model.name)
    heard = sound("speech", 32_000)
    old_rows, rows = model.posteriors(heard), new.posteriors(heard)
    np.testing.assert_allclose(rows, tempered(old_rows, degree), atol=1e-5)
    assert np.abs(rows - old_rows).max() > 0.01
    changed = [
        old.name for old, now in zip(before.graph.initializer, proto.graph.initializer, strict=True) if old != now
    ]
    assert sorted(changed) == ["output_bias", "output_weight"]


@pytest.mark.parametrize("ratio", [0.1, 8.0])
def test_a_graph_with_another_prior_has_the_odds_times_its_ratio(ratio):
    model = speechrnn.load()
    proto, silence = onnx.load(model.path), model.labels.index("_silence_")
    prior.apply(proto, silence, ratio, "x")
    heard = sound("speech", 32_000)
    expected = model.posteriors(heard).astype(np.float64)
    expected[..., silence] *= ratio
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(calibrate._loaded(proto, model.name).posteriors(heard), expected, atol=1e-5)


@pytest.mark.parametrize(
    "apply", [temperature.apply, lambda *a: prior.apply(a[0], 0, *a[1:])], ids=["temperature", "prior"]
)
def test_a_file_with_smaller_weights_gets_none(apply):
    proto = quantize.smaller(speechrnn.load(), Weights.int8)
    with pytest.raises(ModelError, match=r"small\.onnx: .*float32"):
        apply(proto, 0.8, "small.onnx")


# the thresholds

FEW = thresholds.THRESHOLDS[:3]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6))
def test_of_all_choices_the_best_is_found(seed, allowed):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, (9, 4, 1, 4), (len(FEW), len(WORDS), 4), endpoint=False).tolist()
    scores = {
        threshold: Score({word: WordCounts(9, *row) for word, row in zip(WORDS, rows, strict=True)})
        for threshold, rows in zip(FEW, drawn, strict=True)
    }
    found = thresholds.allocate(scores, allowed)
    every = {}
    for choice in itertools.product(FEW, repeat=len(WORDS)):
        chosen = [scores[threshold].counts[word] for threshold, word in zip(choice, WORDS, strict=True)]
        if sum(c.false_accepts for c in chosen) <= allowed:
            every[choice] = sum(c.misses + c.substitutions for c in chosen)
    if found is None:
        assert not every
    else:
        assert every[tuple(found[word] for word in WORDS)] == min(every.values())


def test_of_thresholds_that_are_as_good_the_highest_is_taken():
    same = Score({word: WordCounts(references=5, hits=4) for word in WORDS})
    found = thresholds.allocate(dict.fromkeys(thresholds.THRESHOLDS, same), 3)
    assert found == dict.fromkeys(WORDS, thresholds.THRESHOLDS[-1])


def heard_as(*said, seconds, levels, labelled=True):
    """What the fake model hears, each word with a probability of its own."""
    samples, labels = spoken(*said, seconds=seconds)
    model = FakeModel()
    posteriors = Spotter(model).posteriors(samples)
    for (_, start), level in zip(said, levels, strict=True):
        block = round(start * 50)
        posteriors[block : block + 20] *= level
    return CachedPosteriors(posteriors, labels if labelled else (), seconds)


def material():
    """Hits of "yes" at 0.9 and 0.7, false accepts of it at 0.8; "no" is hit at 0.6 and never imagined."""
    times = [1.0, 3.0, 5.0, 7.0, 11.0, 13.0, 15.0, 17.0]
    words = list(zip(["yes", "yes", "no", "no"] * 2, times, strict=True))
    said = heard_as(*words, seconds=20.0, levels=[0.9, 0.7, 0.6, 0.6] * 2)
    imagined = [heard_as(("yes", 1.0), ("go", 5.0), seconds=10.0, levels=[0.8, 0.55], labelled=False) for _ in range(2)]
    return [said, *imagined]


@pytest.mark.parametrize(("allowed", "missed"), [(0, 2), (1, 2), (2, 0), (4, 0)])
def test_false_accepts_go_to_the_word_that_needs_them(allowed, missed):
    streams = material()
    rate = 3600.0 / 40.0 * (allowed + 0.5)
    choice = thresholds.choose(FakeModel().card, streams, rate)
    assert choice.score.false_accepts <= allowed
    assert choice.score.misses == missed
    again = judge(Spotter(FakeModel(), thresholds=choice.thresholds), streams)
    assert again == choice.score
    assert (choice.thresholds["yes"] > 0.8) == (missed == 2)
    assert 0.5 <= choice.thresholds["no"] <= 0.6
    assert choice.thresholds["go"] > 0.55
    assert choice.crossed.counts == choice.score.counts  # both halves are alike


def test_what_happened_by_chance_in_one_half_is_seen_in_the_other():
    streams = material()
    quiet = heard_as(seconds=10.0, levels=[], labelled=False)
    choice = thresholds.choose(FakeModel().card, [streams[0], streams[1], quiet], 0.0)
    assert choice.score.false_accepts == 0
    assert choice.crossed.false_accepts == 1


def test_no_threshold_is_below_the_lowest_that_is_wanted():
    half_heard = heard_as(("no", 1.0), seconds=5.0, levels=[0.3])
    found = [thresholds.choose(FakeModel().card, [half_heard], 0.0, *lowest) for lowest in ((), (0.5,))]
    assert [choice.score.misses for choice in found] == [0, 1]
    assert found[0].thresholds["no"] <= 0.3
    assert min(found[1].thresholds.values()) >= 0.5


def test_a_rate_that_cannot_be_kept_is_refused():
    sure = heard_as(("yes", 1.0), seconds=5.0, levels=[1.0], labelled=False)
    with pytest.raises(InputError, match="--target-fa"):
        thresholds.choose(FakeModel().card, [material()[0], sure], 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.lists(st.floats(0.0, 8.0), max_size=5))
def test_halves_hold_all_the_sound_and_each_label_at_most_once(blocks, starts):
    seconds = blocks * 0.02
    labels = tuple(Label(start, start + 0.1, "yes") for start in starts)
    rows = np.arange(blocks * len(LABELS), dtype=np.float32).reshape(blocks, -1)
    one, other = thresholds.split(FakeModel().card, [CachedPosteriors(rows, labels, seconds)])
    np.testing.assert_array_equal(np.concatenate([h.posteriors for h in (*one, *other)]), rows)
    assert sum(h.seconds for h in (*one, *other)) == pytest.approx(seconds)
    assert sum(len(h.labels) for h in (*one, *other)) <= len(labels)


# the command


def command(*arguments):
    return run(*arguments, start=lambda: typer.run(calibrate_verb))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All clips are what their folders say, so that the model can be surer than it is."""
    data = little_of_everything(tmp_path_factory.mktemp("data"))
    for word in ("yes", "no", "left"):
        for name in VALIDATION[:6]:
            said(data / "speech_commands" / word / name, word)
    return data


@pytest.fixture(scope="module")
def calibrated(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    shown = command(
        speechrnn.load().path, folder / "new.onnx", "--target-fa", 90, "--data", data, "--picture", folder / "r.png"
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == {"new.onnx", "r.png"}
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    return speechrnn.load(folder / "new.onnx"), shown.stdout


def test_the_card_says_what_was_found(calibrated):
    model, shown = calibrated
    old = speechrnn.load().card
    assert set(model.card.thresholds.values()) <= set(thresholds.THRESHOLDS)
    figures = model.card.figures
    assert replace(model.card, thresholds=old.thresholds, figures=old.figures) == old
    others = old.figures.keys() - {"decision", "calibration", "validation_accuracy"}
    assert {key: figures[key] for key in others} == {key: old.figures[key] for key in others}
    assert figures["validation_accuracy"] == 1.0
    assert figures["decision"]["target_false_accepts_per_hour"] == 90
    assert figures["decision"]["false_accepts_per_hour"] <= 90
    errors = [figures["calibration"][f"expected_calibration_error{when}"] for when in ("", "_before")]
    assert errors[0] < errors[1]
    assert f"temperature {figures['calibration']['temperature']:.3f}" in shown
    assert all(f"{value:.4f}" in shown for value in model.card.thresholds.values())


def test_score_counts_what_the_card_says(calibrated, data, tmp_path):
    model, _ = calibrated
    stream = tmp_path / "x.wav"
    assert run(data / "speech_commands", stream, start=lambda: typer.run(make_stream.main)).returncode == 0
    parts = [
        json.loads(run("score", *what, "--model", model.path, "--json").stdout)
        for what in ([stream], [data / "speech", data / "noise", "--no-labels", "--held-out"])
    ]
    decision = model.card.figures["decision"]
    hours = sum(part["hours"] for part in parts)
    assert decision["hours"] == pytest.approx(hours, abs=1e-3)
    rate = sum(part["false_accepts"] for part in parts) / hours
    assert decision["false_accepts_per_hour"] == pytest.approx(rate, abs=1e-4)
    assert decision["missed_share"] == pytest.approx(parts[0]["missed_share"], abs=1e-5)


def test_a_file_whose_probabilities_stay_keeps_its_weights(data, tmp_path):
    small = tmp_path / "small.onnx"
    [made] = quantize.exports(speechrnn.load(), [Weights.int8])
    small.write_bytes(made.content)
    out = tmp_path / "out.onnx"
    refused(command(small, out, "--data", data), small, "float32")
    assert not out.exists()
    assert command(small, out, "--data", data, "--no-temperature", "--target-fa", 3600).returncode == 0
    old, new = (onnx.load(path) for path in (small, out))
    assert list(old.graph.initializer) == list(new.graph.initializer)
    assert speechrnn.load(out).card.figures.get("calibration") == speechrnn.load(small).card.figures.get("calibration")
    assert min(speechrnn.load(out).card.thresholds.values()) >= thresholds.THRESHOLDS[0] > 0.25


def test_a_prior_goes_into_graph_and_card(data, tmp_path):
    out, old = tmp_path / "out.onnx", speechrnn.load()
    given = ("--data", data, "--no-temperature", "--threshold", 0.75, "--prior", "_silence_=8", "--prior", "yes=2")
    assert command(old.path, out, *given).returncode == 0
    new, silence, yes = speechrnn.load(out), old.labels.index("_silence_"), old.labels.index("yes")
    before = old.card.figures.get("priors", {})
    changed = {label: before.get(label, 1.0) * ratio for label, ratio in (("_silence_", 8.0), ("yes", 2.0))}
    assert new.card.figures["priors"] == before | changed
    rows, old_rows = (model.posteriors(sound("speech", 32_000)) for model in (new, old))
    odds, old_odds = (posterior[..., silence] / posterior[..., yes] for posterior in (rows, old_rows))
    np.testing.assert_allclose(odds, 8.0 / 2.0 * old_odds, rtol=0.01)


def test_one_threshold_for_all_and_the_settings_of_the_decision_can_be_given(data, tmp_path):
    out = tmp_path / "out.onnx"
    settings = {"--smoothing": 0.06, "--refractory": 0.8, "--hysteresis": 0.25}
    given = (*itertools.chain(*settings.items()), "--data", data, "--no-temperature", "--threshold", 0.75)
    shown = command(speechrnn.load().path, out, *given)
    assert shown.returncode == 0, shown.stderr
    card = speechrnn.load(out).card
    assert [card.smoothing_seconds, card.refractory_seconds, card.hysteresis] == [*settings.values()]
    assert set(card.thresholds.values()) == {0.75}
    assert "target_false_accepts_per_hour" not in card.figures["decision"]


def test_a_temperature_that_does_not_help_is_left_out(data, tmp_path):
    judged = temperature.Judged((0.9, 0.9), (True, False), 1.0)
    with mock.patch.object(temperature, "fit", return_value=temperature.Fit(0.9, judged, judged)):
        shown = command(speechrnn.load().path, tmp_path / "out.onnx", "--data", data, "--target-fa", 3600)
    assert shown.returncode == 0
    assert "left as it was" in shown.stdout
    old, new = (onnx.load(path) for path in (speechrnn.load().path, tmp_path / "out.onnx"))
    assert list(old.graph.initializer) == list(new.graph.initializer)
    assert speechrnn.load(tmp_path / "out.onnx").card.figures["calibration"]["temperature"] == 1.0


def test_a_graph_that_differs_from_the_fit_is_not_written(data, tmp_path):
    def wrong(proto, temperature, source):
        bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "output_bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) / np.float32(temperature), bias.name))

    fit = mock.Mock(return_value=mock.Mock(helps=True, temperature=0.8))
    with mock.patch.object(temperature, "apply", wrong), mock.patch.object(temperature, "fit", fit):
        refused(command(speechrnn.load().path, tmp_path / "out.onnx", "--data", data), "nothing is written")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["missing.onnx", "out.onnx"], "missing.onnx"),
        (["MODEL", "missing/out.onnx"], "OUT"),
        (["MODEL", "out.onnx", "--data", "nowhere"], "nowhere"),
        (["MODEL", "out.onnx", "--target-fa", "-1"], "--target-fa"),
        (["MODEL", "out.onnx", "--target-fa", "nan"], "--target-fa"),
        (["MODEL", "out.onnx", "--prior", "yes=0"], "--prior"),
        (["MODEL", "out.onnx", "--prior", "yes=nan"], "--prior"),
        (["MODEL", "out.onnx", "--prior", "yes=often"], "--prior"),
        (["MODEL", "out.onnx", "--prior", "yes"], "--prior"),
        (["MODEL", "out.onnx", "--prior", "maybe=2"], "--prior"),
        (["MODEL", "out.onnx", "--picture", "missing/r.png"], "--picture"),
        (["MODEL", "out.onnx", "--picture", "r.png", "--no-temperature"], "--picture"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    path = str(speechrnn.load().path)
    refused(command(*(path if argument == "MODEL" else argument for argument in arguments)), named)
    assert not list(tmp_path.iterdir())
