"""Clips that a model hears as something else than their folder says are listed; training leaves them out."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechrnn.errors import ConfigError
from speechrnn.evaluation.corpus import task_labels
from speechrnn.evaluation.partition import partition
from speechrnn.training.audio_pool import AudioPool
from speechrnn.training.config import DataConfig

ROOT = Path(__file__).parents[1]
NAME = next(f"{n:08x}_nohash_0.wav" for n in range(100) if partition(f"{n:08x}_nohash_0.wav") == "training")
HELD_OUT = next(f"{n:08x}_nohash_0.wav" for n in range(100) if partition(f"{n:08x}_nohash_0.wav") == "validation")


def suspects(*arguments):
    command = [sys.executable, "-m", "data_scripts.suspects", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Right clips of three words, and a "yes" among the clips of "no"."""
    folder = tmp_path_factory.mktemp("clips")
    for word, example in (("yes", "yes"), ("no", "no"), ("stop", "stop"), ("left", "yes")):
        (folder / word).mkdir()
        shutil.copy(ROOT / "examples" / f"{example}.wav", folder / word / NAME)
    return folder


def test_a_clip_in_the_wrong_folder_is_listed(folder, tmp_path):
    done = suspects(folder, tmp_path / "list.txt")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "list.txt").read_text() == f"left/{NAME}\n"
    assert "1 of 4 clips" in done.stdout


def test_what_counts_as_hardly_possible_is_a_choice(folder, tmp_path):
    suspects(folder, tmp_path / "list.txt", "--below", "1.0")
    assert len((tmp_path / "list.txt").read_text().splitlines()) == 4


def test_a_folder_without_clips_is_named_and_no_list_is_left(tmp_path):
    done = suspects(tmp_path, tmp_path / "list.txt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(tmp_path) in done.stderr
    assert not list(tmp_path.iterdir())


def test_listed_clips_are_not_trained_on_but_validation_keeps_all(tmp_path):
    for word in ("yes", "no"):
        for name in (NAME, f"{NAME[:8]}_nohash_1.wav", HELD_OUT):
            (tmp_path / "sound" / word).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "sound" / word / name, np.zeros(16_000), 16_000)
    listed = tmp_path / "list.txt"
    listed.write_text(f"yes/{NAME}\nyes/{HELD_OUT}\n")
    plain = DataConfig(folder=str(tmp_path / "sound"))
    config = replace(plain, exclude=str(listed))
    labels = task_labels("yes,no")

    def counts(config, part):
        return {word: len(rows) for word, rows in AudioPool(config, labels, part).by_word.items()}

    assert counts(plain, "training") == {"yes": 2, "no": 2}
    assert counts(config, "training") == {"yes": 1, "no": 2}
    assert counts(config, "validation") == counts(plain, "validation") == {"yes": 1, "no": 1}


def test_a_clip_in_a_folder_of_its_word_is_named_by_its_whole_path(tmp_path):
    for place in ("yes", "yes/again"):
        (tmp_path / "sound" / place).mkdir(parents=True)
        soundfile.write(tmp_path / "sound" / place / NAME, np.zeros(16_000), 16_000)
    (tmp_path / "list.txt").write_text(f"yes/again/{NAME}\n")
    config = DataConfig(folder=str(tmp_path / "sound"), exclude=str(tmp_path / "list.txt"))
    assert len(AudioPool(config, task_labels("yes"), "training").by_word["yes"]) == 1


def test_listed_recordings_of_other_folders_are_not_trained_on(tmp_path):
    names = [name for name in map(str, range(40)) if partition(name) == "training"][:3]
    for folder, name in [("commands/yes", NAME[:-4]), *[("music", name) for name in names]]:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / folder / f"{name}.wav", np.zeros(16_000), 16_000)
    (tmp_path / "list.txt").write_text(f"music/{names[1]}.wav\n")
    plain = DataConfig(folder=str(tmp_path / "commands"), noise_folders=(str(tmp_path / "music"),))
    listed = replace(plain, exclude=str(tmp_path / "list.txt"))
    counts = [len(AudioPool(config, task_labels("yes"), "training").noise.sounds) for config in (plain, listed)]
    assert counts == [3, 2]


def test_a_list_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.exclude.*nowhere\.txt"):
        AudioPool(DataConfig(folder=str(tmp_path), exclude="nowhere.txt"), task_labels("yes"), "training")
