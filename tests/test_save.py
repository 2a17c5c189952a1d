"""What `listen --save` keeps: whole at every moment, and never in the place of an earlier recording."""

import io
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
import soundfile
from test_cli import run
from test_listen import RATE, WORDS, clip, listening, model, pcm, said  # noqa: F401  # fixtures among them
from test_microphone import tone, wait

from speechrnn import audio
from speechrnn.cli import outputs
from speechrnn.cli.outputs import Recording
from speechrnn.decision import Detection

SECOND = np.full(RATE, 0.25, np.float32)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def keep(path, *pieces):
    with Recording(path) as recording:
        for piece in pieces:
            recording.write(piece)
    return recording


def labels(path):
    return [line.split("\t")[2] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("source", ["junk.wav", "missing.wav", "-"])
def test_nothing_is_made_and_nothing_emptied_before_a_sound_is_heard(model, tmp_path, source, there):  # noqa: F811
    (tmp_path / "junk.wav").write_text("no sound at all")
    keep = tmp_path / "keep.wav"
    if there:
        keep.write_bytes(b"an earlier recording")
        keep.with_suffix(".txt").write_bytes(b"its labels")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    shown = run("listen", source if source == "-" else tmp_path / source, "-m", model, "--save", keep)
    assert shown.returncode == 2
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_empty_pieces_are_no_sound(tmp_path):
    keep(tmp_path / "keep.wav", np.zeros(0, np.float32))
    assert names(tmp_path) == []


def test_each_start_has_a_file_of_its_own_and_says_which(model, clip, tmp_path):  # noqa: F811
    folder = tmp_path / "kept"
    folder.mkdir()
    for number in (1, 2, 3):
        shown = run("listen", clip, "-m", model, "--save", folder / "keep.wav")
        assert shown.returncode == 0
        stem = "keep" if number == 1 else f"keep-{number}"
        assert shown.stderr.splitlines()[0].endswith(f"{folder / stem}.wav, labels to {folder / stem}.txt")
    assert names(folder) == ["keep-2.txt", "keep-2.wav", "keep-3.txt", "keep-3.wav", "keep.txt", "keep.wav"]
    assert all(len(audio.load(path)) == len(audio.load(clip)) for path in folder.glob("*.wav"))
    assert all(labels(path) == ["yes", "no", "yes"] for path in folder.glob("*.txt"))


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["keep.txt"], "keep-2"),  # a label track that somebody has made by hand
        (["keep-7.wav"], "keep-8"),  # the number is the latest one's, whichever of the earlier ones are deleted
        (["keep.wav", "keep-2.txt"], "keep-3"),
        (["keep.WAV"], "keep-2"),
        (["keep-x.wav", "keeper.wav", "keep.wav.txt"], "keep"),
    ],
)
def test_the_number_is_free_for_both_files(tmp_path, there, expected):
    for name in there:
        (tmp_path / name).write_bytes(b"mine")
    keep(tmp_path / "keep.wav", SECOND)
    assert names(tmp_path) == sorted([*there, f"{expected}.wav", f"{expected}.txt"])
    assert all((tmp_path / name).read_bytes() == b"mine" for name in there)
    assert len(audio.load(tmp_path / f"{expected}.wav")) == RATE


def test_the_file_is_a_wav_as_others_write_it(tmp_path):
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, 5000).astype(np.float32)
    keep(tmp_path / "keep.wav", samples[:1], samples[1:4000], samples[4000:])
    expected = io.BytesIO()
    rounded = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.int16)
    soundfile.write(expected, rounded, RATE, format="WAV", subtype="PCM_16")
    assert (tmp_path / "keep.wav").read_bytes() == expected.getvalue()


def test_a_full_wav_goes_on_in_the_next_one_with_labels_counted_from_there(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "WAV_LIMIT", 2 * 2 * RATE)
    with Recording(tmp_path / "keep.wav") as recording:
        for number in range(5):
            recording.write(SECOND)
            recording.label(Detection(label=f"word {number}", time=number + 0.75, probability=1.0))
    assert [len(audio.load(tmp_path / f"keep{n}.wav")) // RATE for n in ("", "-2", "-3")] == [2, 2, 1]
    tracks = [(tmp_path / f"keep{n}.txt").read_text().splitlines() for n in ("", "-2", "-3")]
    assert [[line.split("\t")[0] for line in track] for track in tracks] == [
        ["0.750000", "1.750000"],
        ["0.750000", "1.750000"],
        ["0.750000"],
    ]
    assert [line.split("\t")[2] for track in tracks for line in track] == [f"word {n}" for n in range(5)]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_killed_at_any_moment_the_recording_is_whole_and_has_its_track(model, tmp_path):  # noqa: F811
    """Pieces of a fortieth of a second, so that there are many moments between sound and header."""
    sound = np.concatenate([said("yes"), tone(WORDS["no"], 0.4, RATE).astype(np.float32)])
    rng = random.Random(0)
    for number in range(1, 4):
        with listening("-", "-m", model, "--save", tmp_path / "keep.wav", stdin=subprocess.PIPE) as process:
            stem = "keep" if number == 1 else f"keep-{number}"
            for start in range(0, len(sound), 400):
                process.stdin.write(pcm(sound[start : start + 400]))
                process.stdin.flush()
            wait((tmp_path / f"{stem}.wav").exists, "nothing is kept")
            time.sleep(rng.uniform(0.0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
        heard = soundfile.read(tmp_path / f"{stem}.wav", dtype="int16")[0]
        assert len(heard) > 0
        np.testing.assert_array_equal(heard, np.frombuffer(pcm(sound), "<i2")[: len(heard)])
        assert len(audio.load(tmp_path / f"{stem}.wav")) == len(heard)
        assert set(labels(tmp_path / f"{stem}.txt")) <= {"yes", "no"}
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_two_that_listen_at_once_do_not_mix(model, tmp_path):  # noqa: F811
    """Each says its own word five times over: a WAV with one word has a track with that word alone."""
    with (
        listening("-", "-m", model, "--save", tmp_path / "keep.wav", stdin=subprocess.PIPE) as first,
        listening("-", "-m", model, "--save", tmp_path / "keep.wav", stdin=subprocess.PIPE) as second,
    ):
        for _ in range(5):
            for process, word in ((first, "yes"), (second, "no")):
                process.stdin.write(pcm(said(word)))
                process.stdin.flush()
        for process in (first, second):
            process.stdin.close()
            assert process.wait(60) == 0
    assert names(tmp_path) == ["keep-2.txt", "keep-2.wav", "keep.txt", "keep.wav"]
    found = set()
    for stem in ("keep", "keep-2"):
        [word] = set(labels(tmp_path / f"{stem}.txt"))
        heard = soundfile.read(tmp_path / f"{stem}.wav", dtype="int16")[0]
        np.testing.assert_array_equal(heard, np.frombuffer(pcm(np.tile(said(word), 5)), "<i2"))
        found.add(word)
    assert found == {"yes", "no"}


def test_what_is_listened_to_is_not_written(model, clip, tmp_path):  # noqa: F811
    (tmp_path / "link.wav").symlink_to(clip)
    before = clip.read_bytes()
    for name in (clip, tmp_path / "link.wav"):
        shown = run("listen", clip, "-m", model, "--save", name)
        assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
        assert "would replace what is read" in shown.stderr
    assert clip.read_bytes() == before
    assert names(tmp_path) == ["clip.wav", "link.wav"]


def test_help_says_that_nothing_is_replaced():
    assert "keep-2.wav" in " ".join(run("listen", "--help").stdout.split())
