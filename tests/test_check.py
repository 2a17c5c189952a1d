"""A folder with one defect of each kind: the check finds these and nothing else."""

import json

import numpy as np
import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from data_scripts import check as module
from data_scripts.check import KINDS, app, check
from speechrnn.errors import InputError
from speechrnn.evaluation.partition import partition

RATE = 16000


def speakers_of(name):
    """Names that the hash rule puts into a partition."""
    numbers = (f"{number:08x}" for number in range(10_000))
    return [number for number in numbers if partition(f"{number}_nohash_0.wav") == name]


TRAINING, VALIDATION, TESTING = (speakers_of(name) for name in ("training", "validation", "testing"))


def sound(seed, *, seconds=1.0, rate=RATE, level=0.1):
    return np.random.default_rng(seed).normal(scale=level, size=round(seconds * rate)).clip(-0.9, 0.9)


def write(folder, name, samples, rate=RATE, **options):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, samples, rate, **options)


@pytest.fixture
def folder(tmp_path):
    """Two words, three speakers, background noise, both lists: nothing wrong."""
    for word in ("yes", "no"):
        for seed, who in enumerate((TRAINING[0], VALIDATION[0], TESTING[0])):
            write(tmp_path, f"{word}/{who}_nohash_0.wav", sound([seed, word == "yes"]))
    write(tmp_path, "_background_noise_/hum.wav", sound(99, seconds=3))
    (tmp_path / "_background_noise_" / "README.md").write_text("who made it")
    for name, who in (("validation", VALIDATION[0]), ("testing", TESTING[0])):
        (tmp_path / f"{name}_list.txt").write_text("".join(f"{word}/{who}_nohash_0.wav\n" for word in ("no", "yes")))
    return tmp_path


def found(folder, **options):
    return [(problem.kind, problem.where) for problem in check(folder, **options).problems]


def clip(number, word="yes", suffix="wav"):
    """A further clip, of a speaker for training."""
    return f"{word}/{TRAINING[number]}_nohash_7.{suffix}"


def test_nothing_is_wrong_with_a_good_folder(folder):
    report = check(folder)
    assert report.problems == ()
    assert (report.files, report.speakers) == (7, 3)
    assert report.seconds == pytest.approx(9)


def test_balance_counts_clips_and_speakers(folder):
    write(folder, f"yes/{TRAINING[0]}_nohash_1.wav", sound(10))
    write(folder, f"yes/{TRAINING[1]}_nohash_0.wav", sound(11))
    no, yes = check(folder).balance
    assert (no.word, yes.word) == ("no", "yes")
    assert no.clips == no.speakers == {"training": 1, "validation": 1, "testing": 1}
    assert yes.clips == {"training": 3, "validation": 1, "testing": 1}
    assert yes.speakers == {"training": 2, "validation": 1, "testing": 1}


def test_unreadable(folder):
    (folder / clip(1)).write_bytes(b"this is no sound")
    write(folder, clip(2), np.full(RATE, np.nan), subtype="FLOAT")
    assert found(folder) == [("unreadable", clip(1)), ("unreadable", clip(2))]


def test_empty(folder):
    (folder / clip(1)).touch()
    write(folder, clip(2), np.zeros(0))
    assert found(folder) == [("empty", clip(1)), ("empty", clip(2))]


def test_wrong_rate(folder):
    write(folder, clip(1), sound(10, rate=8000), 8000)
    assert found(folder) == [("wrong-rate", clip(1))]
    assert ("wrong-rate", clip(1)) not in found(folder, rate=8000)


def test_wrong_length(folder):
    write(folder, clip(1), sound(10, seconds=0.9))
    write(folder, clip(2), sound(11, seconds=1.01))
    assert found(folder) == [("wrong-length", clip(1)), ("wrong-length", clip(2))]
    assert ("wrong-length", clip(1)) not in found(folder, seconds=0.9)


@pytest.mark.parametrize(("count", "kinds"), [(0, []), (16, []), (17, ["clipped"])])
def test_clipped_is_more_than_one_sample_in_a_thousand_at_full_scale(folder, count, kinds):
    samples = sound(10)
    samples[:count] = np.where(np.arange(count) % 2, 1.0, -1.0)
    write(folder, clip(1), samples)
    assert [kind for kind, _ in found(folder)] == kinds


def test_silent(folder):
    write(folder, clip(1), np.zeros(RATE))
    write(folder, clip(2), np.zeros(RATE))  # also the same samples, but that says nothing more
    write(folder, clip(3), sound(10, level=10 ** (-75 / 20)))
    write(folder, clip(4), sound(11, level=10 ** (-65 / 20)))
    write(folder, clip(5), np.full(RATE, 0.25))  # a microphone that is stuck
    assert found(folder) == [("silent", clip(1)), ("silent", clip(2)), ("silent", clip(3)), ("silent", clip(5))]
    assert check(folder).problems[0].detail == "digital silence"


def test_the_class_of_silence_may_be_silent(folder):
    write(folder, clip(1, "_silence_"), np.zeros(RATE))
    assert found(folder) == []


def test_duplicates_are_found_across_words_and_formats(folder):
    samples = (sound(10) * 32767).astype(np.int16)  # as stored: libsndfile rounds floats differently for each format
    write(folder, clip(1, "no"), samples)
    write(folder, clip(2, "yes", "flac"), samples)
    write(folder, clip(3, "yes"), sound(11))
    write(folder, clip(4, "yes"), sound(11))
    first, second = check(folder).problems
    assert (first.kind, first.where) == ("duplicate", clip(2, "yes", "flac"))
    assert first.detail == f"same samples as {clip(1, 'no')}, another word"
    assert (second.kind, second.where) == ("duplicate", clip(4))
    assert second.detail == f"same samples as {clip(3)}"


def test_a_list_that_disagrees_with_the_hash_rule(folder):
    write(folder, clip(1), sound(10))
    with (folder / "validation_list.txt").open("a") as file:
        file.write(f"{clip(1)}\n")
    assert found(folder) == [("partition", clip(1))]
    assert check(folder).problems[0].detail == "validation by the lists, training by the hash rule"


def test_a_speaker_in_two_partitions(folder):
    unlisted = f"yes/{VALIDATION[0]}_nohash_1.wav"
    write(folder, unlisted, sound(10))
    assert found(folder) == [("partition", unlisted), ("speaker", VALIDATION[0])]
    assert check(folder).problems[1].detail == "training 1, validation 2"


def test_a_clip_on_both_lists_counts_as_testing(folder):
    name = f"yes/{TESTING[0]}_nohash_0.wav"
    with (folder / "validation_list.txt").open("a") as file:
        file.write(f"{name}\n")
    assert found(folder) == [("partition", name)]
    assert check(folder).balance[1].clips["testing"] == 1


def test_a_listed_clip_that_is_missing(folder):
    name = f"no/{TESTING[0]}_nohash_0.wav"
    (folder / name).unlink()
    assert found(folder) == [("missing", name)]


def test_without_lists_the_hash_rule_decides(folder):
    for name in ("validation", "testing"):
        (folder / f"{name}_list.txt").unlink()
    report = check(folder)
    assert report.problems == ()
    assert report.balance[0].clips == {"training": 1, "validation": 1, "testing": 1}


def test_background_noise_is_judged_as_noise(folder):
    write(folder, "_background_noise_/dead.wav", np.zeros(RATE * 2))
    write(folder, "_background_noise_/slow.wav", sound(10, rate=8000), 8000)
    report = check(folder)
    assert [(problem.kind, problem.where) for problem in report.problems] == [
        ("wrong-rate", "_background_noise_/slow.wav"),
        ("silent", "_background_noise_/dead.wav"),
    ]
    assert [row.word for row in report.balance] == ["no", "yes"]


def test_other_formats_are_read_and_hidden_files_passed_over(folder):
    write(folder, clip(1, suffix="OGG"), sound(10), format="OGG", subtype="VORBIS")
    (folder / "yes" / "._copy.wav").write_bytes(b"left by another system")
    report = check(folder)
    assert report.problems == ()
    assert report.files == 8


def test_refuses_what_is_no_data_set(tmp_path):
    with pytest.raises(InputError, match="nowhere isn't a folder"):
        check(tmp_path / "nowhere")
    write(tmp_path, "flat.wav", sound(1))
    with pytest.raises(InputError, match="holds no audio: expected WORD"):
        check(tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_exit_code_0_when_nothing_is_wrong(folder):
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert "7 files, 0.00 h, 3 speakers, 0 problems" in result.stdout


def test_exit_code_1_with_counts_and_examples(folder, monkeypatch):
    monkeypatch.setattr(module, "Console", lambda **options: Console(width=200, **options))
    for number in range(1, 6):
        write(folder, clip(number, "[bold]"), np.zeros(RATE))
    result = run(folder)
    assert result.exit_code == 1
    row = next(line for line in result.stdout.splitlines() if line.startswith("│ silent"))
    assert row.split("│")[2].strip() == "5"
    assert f"{clip(1, '[bold]')}: digital silence" in row  # brackets are part of the name, not markup
    assert clip(4, "[bold]") not in result.stdout


def test_json_has_everything(folder):
    for number in range(1, 6):
        write(folder, clip(number), np.zeros(RATE))
    result = run(folder, "--format", "json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert list(report["problems"]) == list(KINDS)
    assert [problem["where"] for problem in report["problems"]["silent"]] == [clip(number) for number in range(1, 6)]
    assert report["problems"]["duplicate"] == []
    assert report["balance"][1]["clips"] == {"training": 6, "validation": 1, "testing": 1}
    assert (report["files"], report["speakers"]) == (12, 8)


@pytest.mark.parametrize("format", ["table", "json"])
def test_exit_code_2_names_what_cannot_be_checked(tmp_path, format):
    for folder in (tmp_path, tmp_path / "nowhere"):
        result = run(folder, "--format", format)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith(f"speechrnn: {folder} ")
        assert result.stderr.count("\n") == 1


def test_help_shows_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "python -m data_scripts.check data/speech_commands" in result.stdout
