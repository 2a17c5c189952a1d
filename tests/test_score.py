"""`speechrnn score`: tables, JSON and pictures of what is heard in recordings with label tracks.

The network is a stand-in that hears what `spoken` writes: a block of samples of one level is the word of that level.
"""

import json
import shutil

import pytest

from speechrnn.evaluation.partition import partition
from speechrnn.labels import Label, write_labels
from tests.support.command_line import run
from tests.support.made_streams import WORD_SECONDS, WORDS, FakeModel, score, write


def figures(*arguments, model=None):
    shown = score(*arguments, "--json", model=model)
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


@pytest.fixture
def recording(tmp_path):
    """A word that is hit, one that isn't said, one that is said without a label."""
    return write(
        tmp_path / "x.wav",
        ("yes", 1.0),
        ("go", 4.0),
        labels=[Label(1.0, 1.4, "yes"), Label(2.5, 2.9, "no")],
    )


def test_hits_misses_and_false_accepts_are_counted(recording):
    result = figures(recording)
    assert (result["words"], result["hits"], result["misses"], result["false_accepts"]) == (2, 1, 1, 1)
    assert (result["missed_share"], result["hours"]) == (0.5, pytest.approx(5 / 3600))
    assert result["false_accepts_per_hour"] == pytest.approx(720)
    assert result["per_word"]["go"]["false_accepts"] == 1
    assert -WORD_SECONDS < result["latency_median"] < 0
    assert "clips" not in result


def test_the_table_has_a_row_for_each_word(recording):
    shown = score(recording)
    assert shown.returncode == 0
    rows = {line.split()[1]: line for line in shown.stdout.splitlines() if line.startswith("│")}
    assert list(rows) == [*WORDS, "all"]
    assert "50.0%" in rows["all"]
    assert "720.00 per hour" in shown.stdout


def test_without_labels_every_detection_is_a_false_accept(recording):
    result = figures(recording, "--no-labels")
    assert (result["words"], result["false_accepts"], result["missed_share"]) == (0, 2, None)
    assert score(recording, "--no-labels").returncode == 0


def test_held_out_recordings_of_a_folder_are_those_that_training_leaves_out(recording, tmp_path):
    folder = tmp_path / "speech"
    folder.mkdir()
    for name in map(str, range(40)):
        shutil.copy(recording, folder / f"{name}-1-1.wav")
    left_out = sum(partition(str(name)) != "training" for name in range(40))
    assert 0 < left_out < 40
    every, some = (figures(folder, "--no-labels", *more) for more in ((), ("--held-out",)))
    assert (every["false_accepts"], some["false_accepts"]) == (80, 2 * left_out)
    for file in folder.iterdir():
        if partition(file.stem.split("-")[0]) != "training":
            file.unlink()
    refused = score(folder, "--no-labels", "--held-out")
    assert refused.returncode == 2
    assert "--held-out" in refused.stderr


def test_words_and_thresholds_are_those_of_the_options(recording):
    assert figures(recording, "--words", "yes,no")["false_accepts"] == 0
    assert figures(recording, model=FakeModel(level=0.6))["hits"] == 0
    assert figures(recording, "--threshold", "0.5", model=FakeModel(level=0.6))["hits"] == 1
    assert figures(recording, "--threshold", "go=0.5", model=FakeModel(level=0.6))["false_accepts"] == 1


def test_a_folder_is_all_the_recordings_in_it(tmp_path):
    for name in ("a.wav", "b.flac"):
        write(tmp_path / name, ("yes", 1.0))
    result = figures(tmp_path)
    assert (result["words"], result["hits"], result["hours"]) == (2, 2, pytest.approx(10 / 3600))


def test_labels_may_lie_elsewhere(tmp_path):
    sound = write(tmp_path / "x.wav", ("yes", 1.0))
    track = sound.with_suffix(".txt").rename(tmp_path / "other.txt")
    assert figures(sound, "--labels", track)["hits"] == 1


def test_a_carried_stream_is_not_reset_between_recordings(tmp_path):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, ("yes", 1.0), seconds=2.51)  # no whole number of blocks
    assert figures(tmp_path, "--carry")["hits"] == 2
    drifting = FakeModel(deaf_from=150)  # 3 s
    assert figures(tmp_path, "--carry", model=drifting)["hits"] == 1
    assert figures(tmp_path, model=drifting)["hits"] == 2


def test_clips_are_labelled_in_the_stream_and_cut_out_of_it(tmp_path):
    sound = write(tmp_path / "x.wav", ("yes", 0.3), ("no", 2.3), ("_unknown_", 4.3))
    clips = [Label(0, 1, "yes"), Label(1, 2, "_silence_"), Label(2, 3, "no"), Label(4, 5, "_unknown_")]
    write_labels(tmp_path / "x.clips.txt", clips)
    assert figures(sound)["clips"] == {"clips": 4, "in_stream": 4, "cut_out": 4}
    deaf = FakeModel(deaf_from=100)
    assert figures(sound, model=deaf)["clips"] == {"clips": 4, "in_stream": 2, "cut_out": 4}
    assert "50.0% right in the stream, 100.0% cut out of it" in score(sound, model=deaf).stdout


def test_clips_are_found_in_a_carried_stream(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.wav", ("yes", 0.3), ("no", 1.6), seconds=2.47)
        write_labels(tmp_path / f"{name}.clips.txt", [Label(0.1, 0.9, "yes"), Label(1.3, 2.3, "no")])
    assert figures(tmp_path, "--carry")["clips"] == {"clips": 4, "in_stream": 4, "cut_out": 4}


def test_a_picture_of_the_det_curve_is_drawn(recording, tmp_path):
    assert score(recording, "--picture", tmp_path / "det.png").returncode == 0
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["missing.wav"], "missing.wav"),
        (["lonely.wav"], "lonely.txt"),
        (["x.wav", "lonely.wav", "--labels", "x.txt"], "--labels"),
        (["x.wav", "--labels", "x.txt", "--no-labels"], "--labels"),
        (["x.wav", "--labels", "missing.txt"], "missing.txt"),
        (["x.wav", "--no-labels", "--picture", "det.png"], "--picture"),
        (["x.wav", "--picture", "missing/det.png"], "--picture"),
        (["x.wav", "--picture", "det.xyz"], "det.xyz"),
        (["x.wav", "--threshold", "2"], "threshold 2"),
        (["x.wav", "--words", "maybe"], "maybe"),
        (["wrong.wav"], "wrong.txt, line 1"),
        (["short.wav"], "short.wav"),
        (["text.wav"], "text.wav"),
        (["empty"], "empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(recording, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    for name in ("lonely", "wrong", "short"):
        write(tmp_path / f"{name}.wav", seconds=1.0)
    (tmp_path / "lonely.txt").unlink()
    (tmp_path / "wrong.txt").write_text("nonsense\n")
    write_labels(tmp_path / "short.clips.txt", [Label(0.5, 1.5, "yes")])
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "text.txt").write_text("")
    (tmp_path / "empty").mkdir()
    shown = score(*arguments)
    assert (shown.returncode, shown.stdout) == (2, "") or named == "det.xyz"
    assert shown.returncode == 2
    assert len(shown.stderr.splitlines()) == 1
    assert named in shown.stderr


def test_the_shipped_model_hears_a_made_stream_as_it_hears_the_clips(validation_folder, tmp_path):
    import speechrnn
    from speechrnn.evaluation.corpus import evaluation_clips
    from speechrnn.evaluation.streams import make_stream, save

    clips = evaluation_clips(validation_folder, speechrnn.load().labels, "validation")
    save(tmp_path / "x.wav", *make_stream(clips, seconds=240.0))
    shown = run("score", tmp_path / "x.wav", "--json")
    assert shown.returncode == 0, shown.stderr
    result = json.loads(shown.stdout)
    assert result["missed_share"] < 0.25
    assert result["clips"]["cut_out"] / result["clips"]["clips"] > 0.85
    assert result["clips"]["in_stream"] / result["clips"]["clips"] > 0.8
