"""One command measures what a model is chosen by: the same figures that evaluate and score give, on unseen sound."""

import json
from pathlib import Path

import pytest
import typer

import speechrnn
from data_scripts import make_stream, validate
from speechrnn.evaluation import corpus, data_folders
from speechrnn.evaluation.calibration import expected_calibration_error
from speechrnn.training import config
from tests.support.clips import little_of_everything, said
from tests.support.command_line import ROOT, refused, run

PARTS = (
    *("clips", "unseen_words", "held_out_words", "unseen_noise"),
    *("clean_stream", "noisy_stream", "hissing_stream", "held_out"),
)


def command(*arguments):
    return run(*arguments, start=lambda: typer.run(validate.main))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return little_of_everything(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "figures.json"
    shown = command("--data", data, "--json", out)
    assert (shown.returncode, shown.stderr) == (0, "")
    return {"stdout": shown.stdout, **json.loads(out.read_text())}


def test_every_part_is_measured(made):
    assert set(made) == {"stdout", "model", "skipped", *PARTS}
    assert made["skipped"] == {}
    assert made["model"] == str(speechrnn.load().path)


def test_clips_are_those_of_evaluate(data, made):
    shown = run("evaluate", data / "speech_commands", "--partition", "validation", "--json")
    expected = json.loads(shown.stdout)
    assert made["clips"]["accuracy"] == pytest.approx(expected["accuracy"])
    for key in ("clips", "labels"):
        assert made["clips"][key] == expected[key]
    assert made["clips"]["confusions"] == expected["confusions"]["counts"]
    assert made["clips"]["weakest_word"] == "no"


def test_probabilities_are_held_against_what_was_said(data, made):
    model = speechrnn.load()
    clips = corpus.evaluation_clips(data / "speech_commands", model.labels, "validation")
    results = [model.classify(clip.sound()) for clip in clips]
    right = [result.label == clip.label for clip, result in zip(clips, results, strict=True)]
    expected = expected_calibration_error([result.probability for result in results], right)
    assert made["clips"]["expected_calibration_error"] == pytest.approx(expected)


def test_other_words_are_to_be_unknown_and_are_named_with_what_they_were_taken_for(made):
    words = made["unseen_words"]
    assert (words["clips"], words["recall"]) == (3, pytest.approx(2 / 3))  # a "yes" is no other word
    assert words["taken_for"] == {"stop": 1}
    assert {word: row["recall"] for word, row in words["kinds"].items()} == {"seven": 1.0, "two": 0.5}


def test_words_of_a_folder_that_training_has_a_part_of_are_those_it_leaves_out(made):
    words = made["held_out_words"]
    assert (words["clips"], words["recall"], words["taken_for"]) == (2, 0.5, {"left": 1})
    assert list(words["kinds"]) == ["tuxpaint"]


def test_noise_is_cut_into_seconds_and_what_was_trained_on_is_not_heard(made):
    kinds = made["unseen_noise"]["kinds"]
    assert {kind: row["clips"] for kind, row in kinds.items()} == {"rain": 4, "music_pyaudio": 1}  # at 0, 3, 6, 9 s
    assert "left" not in made["unseen_noise"]["taken_for"]


@pytest.mark.parametrize(
    ("part", "sound"),
    [("clean_stream", ()), ("noisy_stream", ("--snr", 10)), ("hissing_stream", ("--hiss", -60))],
)
def test_streams_are_those_of_make_stream_and_score(data, made, tmp_path, part, sound):
    stream = tmp_path / "x.wav"
    assert run(data / "speech_commands", stream, *sound, start=lambda: typer.run(make_stream.main)).returncode == 0
    expected = json.loads(run("score", stream, "--json").stdout)
    del expected["latencies"]
    clips = expected["clips"]
    assert {key: made[part][key] for key in expected} == expected
    difference = (clips["cut_out"] - clips["in_stream"]) / clips["clips"]
    assert made[part]["lost_in_stream"] == pytest.approx(difference)


def test_false_accepts_are_counted_in_held_out_speech_and_noise(data, made):
    shown = run("score", data / "speech", data / "noise", "--no-labels", "--held-out", "--json")
    expected = json.loads(shown.stdout)
    del expected["latencies"]
    assert made["held_out"] == expected
    assert expected["false_accepts"] == 1  # the reader that training doesn't have


def test_all_of_it_is_printed(made):
    shown = made["stdout"]
    for text in ("accuracy", "weakest word: no", "expected calibration error", "seven", "stop (1)", "rain"):
        assert text in shown
    assert "false accepts per hour" in shown


def test_what_is_missing_is_named_and_the_rest_is_measured(data, tmp_path):
    out = tmp_path / "figures.json"
    missing = tmp_path / "nowhere"
    shown = command("--data", data, "--commands", missing, "--unseen-words", missing, "--json", out)
    assert shown.returncode == 1
    figures = json.loads(out.read_text())
    assert set(figures["skipped"]) == {"clips", "unseen_words", "clean_stream", "noisy_stream", "hissing_stream"}
    lines = shown.stderr.splitlines()
    assert len(lines) == 5
    assert all("left out" in line and str(missing) in line for line in lines)
    assert figures["held_out"]["false_accepts"] == 1
    assert "rain" in shown.stdout


def test_where_nothing_can_be_measured_one_line_says_so(tmp_path):
    shown = command("--data", tmp_path / "nowhere", "--json", tmp_path / "figures.json")
    refused(shown, tmp_path / "nowhere")
    assert shown.stdout == ""
    assert not list(tmp_path.iterdir())


def test_a_clip_that_cannot_be_read_is_named_and_counted(data, tmp_path):
    said(tmp_path / "words" / "seven" / "0.wav", "marvin")
    (tmp_path / "words" / "seven" / "1.wav").write_text("no sound")
    out = tmp_path / "figures.json"
    shown = command("--data", data, "--unseen-words", tmp_path / "words", "--json", out)
    assert shown.returncode == 1
    assert "1.wav" in shown.stderr
    words = json.loads(out.read_text())["unseen_words"]
    assert (words["clips"], words["unreadable"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "named"), [(["missing.onnx"], "missing.onnx"), (["--json", "missing/x.json"], "--json")]
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    refused(command(*arguments), named)


def test_nothing_in_configs_trains_on_what_counts_as_unseen():
    for file in sorted((ROOT / "configs").glob("*.toml")):
        data = config.load(file).data
        used = {*data.word_folders, *data.unknown_folders, *data.speech_folders, *data.noise_folders}
        for unseen in (*data_folders.UNSEEN_WORDS, *data_folders.UNSEEN_NOISE):
            path = Path("../data") / unseen
            assert not [folder for folder in used if path.is_relative_to(folder) or Path(folder).is_relative_to(path)]
