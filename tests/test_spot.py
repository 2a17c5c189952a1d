"""The words in recordings: what is written, where, and what is said when something is wrong."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import speechrnn
from speechrnn import audio
from speechrnn.cli.spot import detections

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
WORDS = ["yes", "no", "left", "go"]
SENSITIVE = ["--threshold", "0.5"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The examples with two seconds of quiet around each, and the second at which each clip ends."""
    rng = np.random.default_rng(0)
    quiet = lambda: 1e-3 * rng.standard_normal(32_000)  # noqa: E731
    parts, ends = [quiet()], []
    for word in WORDS:
        parts += [audio.load(EXAMPLES / f"{word}.wav"), quiet()]
        ends.append((sum(map(len, parts)) - 32_000) / 16_000)
    path = tmp_path_factory.mktemp("spot") / "recording.wav"
    soundfile.write(path, np.concatenate(parts), 16_000)
    return path, ends


def run(*arguments):
    command = [sys.executable, "-m", "speechrnn", "spot", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_words_are_found_where_they_were_said(recording):
    path, ends = recording
    done = run(path, "--format", "jsonl", *SENSITIVE)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [r["label"] for r in records] == WORDS
    assert all(set(r) == {"path", "time", "label", "probability", "peak"} for r in records)
    assert all(end - 1.0 < r["time"] < end + 0.75 for r, end in zip(records, ends, strict=True))


def test_every_format_tells_the_same(recording):
    path, _ = recording
    spotter = speechrnn.Spotter(speechrnn.load(), threshold=0.5)
    found = list(detections(spotter, str(path)))
    rows = list(csv.DictReader(io.StringIO(run(path, "-f", "csv", *SENSITIVE).stdout)))
    assert [(row["label"], float(row["time"])) for row in rows] == [(d.label, pytest.approx(d.time)) for d in found]
    tracks = [line.split("\t") for line in run(path, "-f", "audacity", *SENSITIVE).stdout.splitlines()]
    assert [(float(end), word) for _, end, word in tracks] == [(pytest.approx(d.time), d.label) for d in found]
    srt = run(path, "-f", "srt", *SENSITIVE).stdout
    assert [block.splitlines()[2] for block in srt.strip().split("\n\n")] == [d.label for d in found]
    assert "," in srt.splitlines()[1]
    vtt = run(path, "-f", "vtt", *SENSITIVE).stdout
    assert vtt.startswith("WEBVTT\n\n00:00:0")
    assert [block.splitlines()[1] for block in vtt.strip().split("\n\n")[1:]] == [d.label for d in found]
    assert [line.split()[3] for line in run(path, *SENSITIVE).stdout.splitlines()] == [d.label for d in found]


def test_words_and_thresholds_narrow_what_is_found(recording):
    path, _ = recording
    some = run(path, "--words", "no,left", "-f", "csv", *SENSITIVE).stdout.splitlines()[1:]
    assert [line.split(",")[2] for line in some] == ["no", "left"]
    fewer = run(path, "-f", "csv", *SENSITIVE, "-t", "no=1.0").stdout.splitlines()[1:]
    assert "no" not in [line.split(",")[2] for line in fewer]


def test_each_recording_starts_afresh_and_gets_a_file(recording, tmp_path):
    path, _ = recording
    other = tmp_path / "other.flac"
    soundfile.write(other, audio.load(path), 16_000)
    out = tmp_path / "tracks"
    out.mkdir()
    done = run(path, other, "-f", "audacity", "-o", out, *SENSITIVE)
    assert done.returncode == 0
    assert sorted(p.name for p in out.iterdir()) == ["other.txt", "recording.txt"]
    first, second = ([line.split("\t")[1:] for line in p.read_text().splitlines()] for p in sorted(out.iterdir()))
    assert first == second


def test_a_recording_that_cannot_be_used_is_named_and_the_rest_go_on(recording, tmp_path):
    path, _ = recording
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    some = run(broken, path, "-f", "jsonl", *SENSITIVE)
    assert some.returncode == 1
    assert "broken.wav" in some.stderr
    assert len(some.stdout.splitlines()) == len(WORDS)
    none = run(broken)
    assert none.returncode == 2
    assert len(none.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-f", "srt", "{}", "{}"], "--output-folder"),
        (["-o", "/nowhere/at/all", "{}"], "/nowhere/at/all"),
        (["-t", "loud", "{}"], "--threshold loud"),
        (["-t", "yes=2", "{}"], "yes"),
        (["-w", "maybe", "{}"], "maybe"),
        (["-w", ",", "{}"], "words"),
        (["missing.wav"], "missing.wav"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(recording, arguments, named):
    done = run(*(a.replace("{}", str(recording[0])) for a in arguments))
    assert done.returncode == 2
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "setting"),
    [
        ("--refractory", 10.0, "refractory_seconds"),
        ("--smoothing", 0.5, "smoothing_seconds"),
        ("--hysteresis", 0.0, "hysteresis"),
    ],
)
def test_the_settings_of_the_decision_are_options(recording, tmp_path, option, value, setting):
    twice = tmp_path / "twice.wav"
    soundfile.write(twice, np.tile(audio.load(recording[0]), 2), 16_000)
    shown = run(twice, "-f", "jsonl", "--threshold", "0.3", option, value).stdout
    spotter = speechrnn.Spotter(speechrnn.load(), threshold=0.3, **{setting: value})
    expected = [(d.time, d.label, round(d.probability, 6)) for d in detections(spotter, str(twice))]
    assert [(d["time"], d["label"], d["probability"]) for d in map(json.loads, shown.splitlines())] == expected
    default = detections(speechrnn.Spotter(speechrnn.load(), threshold=0.3), str(twice))
    assert expected != [(d.time, d.label, round(d.probability, 6)) for d in default]


@pytest.mark.parametrize("verb", ["spot", "listen", "score"])
@pytest.mark.parametrize(
    ("option", "value", "range"),
    [
        ("--refractory", "4000", "0 to 3600 seconds"),
        ("--smoothing", "-1", "0 to 10 seconds"),
        ("--hysteresis", "1.5", "0 to 1"),
        ("--hysteresis", "nan", "0 to 1"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(recording, verb, option, value, range):
    more = ["--no-labels"] if verb == "score" else []
    command = [sys.executable, "-m", "speechrnn", verb, str(recording[0]), option, value, *more]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"speechrnn: {option} {value}: must be {range}\n"
