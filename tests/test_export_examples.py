"""The examples find the same words at the same times as `speechrnn spot`, and systemd takes the units."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import typer

import speechrnn
from speechrnn import audio
from speechrnn.cli.quantize import quantize as quantize_verb
from tests.support.command_line import command, run
from tests.support.environment import needs

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "export" / "examples"
WORDS = ("yes", "no", "left", "go", "stop")
RATE = 16_000
SETTINGS = {  # unlike those in the shipped card, each of them, so that a setting that isn't read shows
    "sensitive": {"thresholds": 0.3},
    "uneven": {"thresholds": {"left": 1.0, "go": 0.3}},
    "soon again": {"refractory_seconds": 0.0, "hysteresis": 1.0, "smoothing_seconds": 0.02, "thresholds": 0.4},
    "late again": {"refractory_seconds": 3.0, "thresholds": 0.4},
    "slow": {"smoothing_seconds": 0.3, "thresholds": 0.4, "tail_seconds": 0.9},
    "odd tail": {"thresholds": 0.3, "tail_seconds": 0.43},
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Words and another word, close together and far apart; the last one ends with the recording, within a block."""
    rng = np.random.default_rng(0)
    parts = []
    for i, word in enumerate([*WORDS, "marvin", *WORDS[::-1]]):
        parts += [1e-3 * rng.standard_normal(12_345 if i % 2 else 1_000), audio.load(ROOT / "examples" / f"{word}.wav")]
    path = tmp_path_factory.mktemp("recording") / "recording.wav"
    soundfile.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
    return path


def example(*arguments):
    """As a user of the file alone runs it: from elsewhere, without this package."""
    argv = [sys.executable, "-I", EXAMPLES / "spot.py", *arguments]
    return subprocess.run(argv, cwd=EXAMPLES, capture_output=True, text=True)


def same_words(model, recording):
    """What both find, as (time, word)."""
    shown = example(model, recording)
    assert (shown.returncode, shown.stderr) == (0, "")
    found = [line.split() for line in shown.stdout.splitlines()]
    spotted = map(json.loads, run("spot", recording, "--model", model, "--format", "jsonl").stdout.splitlines())
    expected = [(f"{d['time']:.2f}", d["label"], d["probability"]) for d in spotted]
    assert [(time, word) for time, _, word, _ in found] == [(time, word) for time, word, _ in expected]
    for (*_, probability), (*_, exact) in zip(found, expected, strict=True):
        assert float(probability) == pytest.approx(exact, abs=1e-3)
    return [(float(time), word) for time, word, _ in expected]


def test_the_example_finds_what_spot_finds(recording):
    found = same_words(speechrnn.load().path, recording)
    assert len(found) >= 3
    assert {word for _, word in found} <= set(WORDS)


@pytest.mark.parametrize("case", SETTINGS)
def test_the_example_follows_the_card(recording, tmp_path, case):
    card, changes = speechrnn.load().card, dict(SETTINGS[case])
    thresholds = changes.pop("thresholds")
    thresholds = dict.fromkeys(card.words, thresholds) if isinstance(thresholds, float) else thresholds
    changed = replace(card, thresholds=card.thresholds | thresholds, **changes)
    proto = onnx.load(speechrnn.load().path)
    onnx.helper.set_model_props(proto, {"speechrnn": changed.to_json()})
    onnx.save(proto, tmp_path / "model.onnx")
    found = same_words(tmp_path / "model.onnx", recording)
    assert found
    assert found != same_words(speechrnn.load().path, recording)


def test_the_example_takes_a_smaller_file(recording, tmp_path):
    argv = speechrnn.load().path, tmp_path / "int8.onnx"
    assert run(*argv, start=lambda: typer.run(quantize_verb)).returncode == 0
    assert len(same_words(tmp_path / "int8.onnx", recording)) >= 3


def test_the_example_needs_onnxruntime_and_numpy_alone():
    text = (EXAMPLES / "spot.py").read_text(encoding="utf-8")
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module).partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.mark.parametrize("case", ["text", "missing", "stereo", "rate", "float"])
def test_the_example_refuses_what_it_cannot_read_in_one_line(tmp_path, case):
    path, sound = tmp_path / "clip.wav", np.zeros(RATE)
    if case == "text":
        path.write_text("no sound")
    elif case != "missing":
        samples = np.stack([sound, sound], axis=1) if case == "stereo" else sound
        how = {"subtype": "FLOAT" if case == "float" else "PCM_16"}
        soundfile.write(path, samples, 8_000 if case == "rate" else RATE, **how)
    shown = example(speechrnn.load().path, path)
    assert shown.returncode == 1
    assert shown.stdout == ""
    [line] = shown.stderr.splitlines()
    assert str(path) in line
    assert "16 bit, mono, at 16000 Hz" in line


def test_the_example_says_how_it_is_called():
    shown = example()
    assert shown.returncode == 1
    assert "python spot.py MODEL.onnx RECORDING.wav" in shown.stderr


# the units for systemd

UNITS = {  # the unit: the program in it
    "speechrnn.service": "/opt/speechrnn/bin/speechrnn",
    "speechrnn-user.service": "%h/.local/share/speechrnn/bin/speechrnn",
}


def settings(unit):
    """Its lines that aren't comments."""
    return [line for line in (EXAMPLES / unit).read_text().splitlines() if line and not line.startswith("#")]


def start_line(unit):
    [line] = [line for line in settings(unit) if line.startswith("ExecStart=")]
    return shlex.split(line.partition("=")[2])


def verify(text, unit, folder):
    path = folder / unit
    path.write_text(text)
    how = ["--user"] if "user" in unit else []
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    argv = ["systemd-analyze", *how, "verify", "--man=no", path]
    return subprocess.run(argv, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_unit(tmp_path, unit):
    needs("systemd-analyze")
    program = tmp_path / "speechrnn"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (EXAMPLES / unit).read_text().replace(UNITS[unit], str(program))
    shown = verify(text, unit, tmp_path)
    assert (shown.returncode, shown.stdout + shown.stderr) == (0, "")
    spoilt = verify(text.replace("StateDirectory", "StateDirectoire"), unit, tmp_path)
    assert "StateDirectoire" in spoilt.stderr, "or nothing was verified"


@pytest.mark.parametrize("unit", UNITS)
def test_the_command_of_the_unit_hears_words(unit):
    """Its own command line, with sound in a pipe for the microphone."""
    program, *arguments = start_line(unit)
    assert program == UNITS[unit]
    samples = np.rint(audio.load(ROOT / "examples" / "yes.wav") * 32_768).astype("<i2")
    shown = command(*arguments, "-", input=samples.tobytes(), text=False)
    assert shown.returncode == 0
    assert [json.loads(line)["label"] for line in shown.stdout.splitlines()] == ["yes"]


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_unit_runs_for_a_word_has_a_network(unit):
    assert not [line for line in settings(unit) if line.startswith(("PrivateNetwork", "IPAddress", "Restrict"))]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_installed_from_a_checkout(unit):
    """Nobody has published `speechrnn` in a package index: who installs that name gets somebody else's code."""
    [install] = re.findall(r"pip install (\S+)", (EXAMPLES / unit).read_text())
    assert install == "PATH_OF_A_CHECKOUT"
