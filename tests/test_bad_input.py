"""Whatever is wrong with what was given: one line that names it, exit code 2, no traceback.

Exit code 1 where other files of the same call were fine; those are labelled all the same.
"""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile

import speechrnn
from tests.support.command_line import MODELS, ROOT, command, encoded, refused, run
from tests.support.sound_kinds import sound

RATE = 16_000
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.wav"
    soundfile.write(path, sound("speech", RATE), RATE)
    return path


# sound


def with_sample(value):
    samples = sound("noise", RATE)
    samples[RATE // 2] = value
    return encoded(samples, subtype="FLOAT")


def an_hour_of_silence():
    return encoded(np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")


BAD = {
    "empty": lambda: b"",
    "text": lambda: b"This is a text that somebody has called .wav.\n" * 100,
    "truncated": lambda: encoded(sound("speech", RATE))[:-9000],
    "truncated-flac": lambda: encoded(sound("speech", RATE), format="FLAC")[:-9000],
    "header-only": lambda: encoded(np.zeros(0)),
    "nan": lambda: with_sample(np.nan),
    "infinite": lambda: with_sample(-np.inf),
    "one-sample": lambda: encoded(np.zeros(1)),
    "hour": an_hour_of_silence,
    "no-channels": lambda: (
        b"RIFF" + struct.pack("<I4s4sIHHIIHH", 36, b"WAVE", b"fmt ", 16, 1, 0, RATE, 0, 0, 16) + b"data"
    ),
    "zip": lambda: b"PK\x03\x04" + bytes(500),
}


@pytest.fixture(params=BAD)
def bad(request, tmp_path):
    path = tmp_path / f"{request.param}.wav"
    path.write_bytes(BAD[request.param]())
    return path


def test_a_bad_file_is_refused_in_one_line(bad):
    shown = command("classify", bad)
    refused(shown, bad)
    assert shown.stdout == ""


def test_a_good_file_beside_a_bad_one_is_labelled(bad, good):
    shown = run("classify", good, bad, good, "--format", "jsonl")
    refused(shown, bad, code=1)
    label = speechrnn.load().classify(good).label
    assert [(r["path"], r["label"]) for r in map(json.loads, shown.stdout.splitlines())] == [(str(good), label)] * 2


def test_a_bad_file_in_a_folder_is_named_and_the_rest_labelled(bad, good):
    shown = run("classify", bad.parent, "--format", "csv")
    refused(shown, bad, code=1)
    assert str(good) in shown.stdout


def test_a_bad_pipe_is_refused(bad):
    refused(run("classify", "-", stdin=bad.read_bytes()), "<stdin>")


def test_bad_files_alone_are_exit_code_2_with_a_line_each(tmp_path):
    for name in ("empty", "text"):
        (tmp_path / f"{name}.wav").write_bytes(BAD[name]())
    shown = run("classify", tmp_path)
    assert shown.returncode == 2
    for line, name in zip(shown.stderr.splitlines(), ("empty", "text"), strict=True):
        assert str(tmp_path / f"{name}.wav") in line


# paths


def paths(folder):
    (folder / "no-sound").mkdir()
    (folder / "no-sound" / "notes.txt").write_text("no sound")
    (folder / "file.wav").write_bytes(b"")
    return {
        "missing": folder / "missing.wav",
        "below-a-missing-folder": folder / "missing" / "clip.wav",
        "below-a-file": folder / "file.wav" / "clip.wav",
        "folder-without-sound": folder / "no-sound",
        "glob-without-match": folder / "*.ogg",
        "long-name": folder / ("n" * 300 + ".wav"),
        "null-device": os.devnull,
    }


PATHS = pytest.mark.parametrize(
    "case",
    [
        "missing",
        "below-a-missing-folder",
        "below-a-file",
        "folder-without-sound",
        "glob-without-match",
        "long-name",
        "null-device",
    ],
)


@PATHS
def test_a_path_that_leads_to_no_sound_is_refused_in_one_line(tmp_path, case):
    path = paths(tmp_path)[case]
    shown = command("classify", path)
    refused(shown, path)
    assert shown.stdout == ""


@PATHS
def test_a_good_file_beside_a_path_that_leads_nowhere_is_labelled(tmp_path, good, case):
    path = paths(tmp_path)[case]
    shown = run("classify", path, good, "--format", "jsonl")
    refused(shown, path, code=1)
    assert [json.loads(line)["path"] for line in shown.stdout.splitlines()] == [str(good)]


def test_a_line_break_in_a_name_breaks_no_line(tmp_path):
    refused(run("classify", tmp_path / "a\nb.wav"), "a\\nb.wav")
    refused(run("info", tmp_path / "a\nb.onnx"), "b.onnx")


def as_anybody(*arguments):
    """The real command without root's right to read and write everything, or skip."""
    if os.geteuid() != 0:
        return command(*arguments)
    program = """
import ctypes, os, sys
drop_from_bounding_set, override_permissions, search_folders = 24, 1, 2
for capability in (override_permissions, search_folders):
    if ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0):
        sys.exit(77)
os.execv(sys.executable, [sys.executable, "-m", "speechrnn", *sys.argv[1:]])
"""
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    shown = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if shown.returncode == 77:
        pytest.skip("this is root, and may not give up its rights")
    return shown


@POSIX
@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_unreadable_file_is_refused_in_one_line(tmp_path, good, what):
    path = tmp_path / "locked" / "clip.wav"
    path.parent.mkdir()
    path.write_bytes(good.read_bytes())
    locked = path if what == "file" else path.parent
    locked.chmod(0)
    try:
        alone = as_anybody("classify", path)
        both = as_anybody("classify", path, good)
    finally:
        locked.chmod(0o700)
    refused(alone, path, "permission denied")
    refused(both, path, "permission denied", code=1)
    assert str(good) in both.stdout


# models


@pytest.fixture(scope="module")
def shipped():
    return onnx.load(speechrnn.load().path)


@pytest.fixture(params=MODELS)
def bad_model(request, tmp_path, shipped):
    path = tmp_path / f"{request.param}.onnx"
    path.write_bytes(MODELS[request.param](shipped))
    return path


def test_a_bad_model_is_refused_in_one_line(bad_model, good):
    shown = command("classify", good, "--model", bad_model)
    refused(shown, bad_model)
    assert shown.stdout == ""


def test_every_verb_refuses_a_bad_model(bad_model, good, tmp_path):
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "clip.wav").write_bytes(good.read_bytes())
    picture = tmp_path / "picture.png"
    refused(run("info", bad_model), bad_model)
    refused(run("info", bad_model, "--json"), bad_model)
    refused(run("spot", good, "--model", bad_model), bad_model)
    refused(run("listen", good, "--model", bad_model), bad_model)
    refused(run("plot", good, "-o", picture, "--model", bad_model), bad_model)
    refused(run("evaluate", tmp_path, "--picture", picture, "--model", bad_model), bad_model)
    assert not picture.exists()


@pytest.mark.parametrize("case", ["missing.onnx", ".", "good.wav/model.onnx", "n" * 300])
def test_a_model_path_that_leads_to_no_file_is_refused(tmp_path, good, case):
    refused(run("classify", good, "--model", tmp_path / case), tmp_path / case)
    refused(run("info", tmp_path / case), tmp_path / case)


def test_a_bad_model_is_found_before_any_sound_is_read(tmp_path):
    refused(run("classify", "-", "--model", tmp_path / "missing.onnx", stdin=b"junk"), "missing.onnx")


# spot and listen


@pytest.mark.parametrize("verb", ["spot", "listen"])
@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--threshold", "high", "--threshold high"),
        ("--threshold", "yes=", "--threshold yes="),
        ("--threshold", "2", "2"),
        ("--threshold", "yes=0", "yes"),
        ("--threshold", "computer=0.5", "computer"),
        ("--words", "yes,computer", "computer"),
        ("--words", ",", "words"),
    ],
)
def test_settings_of_the_spotter_that_are_no_good_are_refused(good, verb, option, value, named):
    refused(run(verb, good, option, value), named)


# evaluate


def test_evaluate_refuses_a_missing_folder(tmp_path):
    refused(run("evaluate", tmp_path / "missing"), tmp_path / "missing")


def test_evaluate_refuses_a_file(good):
    refused(run("evaluate", good), good)


def test_evaluate_refuses_a_folder_without_sound(tmp_path):
    refused(run("evaluate", tmp_path), tmp_path)


def test_evaluate_refuses_a_folder_without_words(good):
    refused(run("evaluate", good.parent), good.parent, "folder for each word")


def test_evaluate_refuses_a_folder_without_clips_of_the_partition(good):
    (good.parent / "yes").mkdir()
    clip = good.rename(good.parent / "yes" / "00000000_nohash_0.wav")
    shown = {part: run("evaluate", good.parent, "--partition", part) for part in ("training", "validation", "testing")}
    assert sorted(s.returncode for s in shown.values()) == [0, 2, 2]
    for part, outcome in shown.items():
        if outcome.returncode:
            refused(outcome, good.parent, part)
    assert clip.exists()


def test_evaluate_says_when_no_clip_could_be_used(tmp_path):
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / "clip.wav").write_bytes(b"")
    shown = run("evaluate", tmp_path)
    assert shown.returncode == 2
    first, second = shown.stderr.splitlines()
    assert str(tmp_path / "yes" / "clip.wav") in first
    assert "none of its 1 clips" in second


@pytest.mark.parametrize("place", [".", "missing/picture.png", "good.wav/picture.png", "n" * 300 + ".png"])
def test_evaluate_refuses_a_place_for_its_picture_before_the_work(good, place):
    shown = run("evaluate", good.parent / "missing", "--picture", good.parent / place)
    refused(shown, "--picture", good.parent / place)


# plot


@pytest.mark.parametrize(
    "place", [".", "missing/picture.png", "good.wav/picture.png", "n" * 300 + ".png", "picture.xyz", "picture.wav"]
)
def test_plot_refuses_a_picture_that_cannot_be_written(good, place):
    before = sorted(good.parent.iterdir())
    refused(run("plot", good, "-o", good.parent / place), good.parent / place)
    assert sorted(good.parent.iterdir()) == before


@POSIX
def test_plot_refuses_a_folder_that_takes_no_files(good, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    try:
        shown = as_anybody("plot", good, "-o", locked / "picture.png")
    finally:
        locked.chmod(0o700)
    refused(shown, locked / "picture.png")
    assert list(locked.iterdir()) == []


def test_plot_refuses_a_bad_clip(bad):
    refused(run("plot", bad, "-o", bad.parent / "picture.png"), bad)
    assert not (bad.parent / "picture.png").exists()


@pytest.mark.parametrize("clip", [".", "..", "missing.wav"])
def test_plot_refuses_what_is_no_file(tmp_path, monkeypatch, clip):
    monkeypatch.chdir(tmp_path)
    refused(run("plot", clip), clip)
    assert list(tmp_path.iterdir()) == []


def test_plot_without_matplotlib_says_what_to_install(good):
    program = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv[0] = 'speechrnn'; import speechrnn.cli as c; c.run()"
    )
    argv = [sys.executable, "-c", program, "plot", str(good)]
    shown = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    refused(shown, "matplotlib", "[plot]")


# train


def test_train_refuses_a_missing_config(tmp_path):
    refused(run("train", tmp_path / "missing.toml"), tmp_path / "missing.toml")


@pytest.mark.parametrize("text", ["name = ", "\x00", "[train"])
def test_train_refuses_a_config_that_is_no_toml(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)
    refused(run("train", tmp_path / "config.toml"), tmp_path / "config.toml")


def test_train_refuses_a_setting_that_does_not_exist(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[train]\nepoch = 3\n")
    refused(run("train", config), "train.epoch")
    config.write_text("")
    refused(run("train", config, "--set", "train.epoch=3"), "train.epoch")
    refused(run("train", config, "--set", "train.epochs"), "--set train.epochs")
    refused(run("train", config, "--set", "train.epochs=many"), "train.epochs")
    assert list(tmp_path.iterdir()) == [config]
