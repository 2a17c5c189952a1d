"""Talkers for the background: of the right speakers, the same for the same seed, at one level."""

import numpy as np
import pytest
import soundfile
import typer

from data_scripts import beds
from speechrnn.audio import SAMPLE_RATE
from speechrnn.evaluation.partition import partition
from tests.support.command_line import refused, run

TONES = {"training": 300.0, "held out": 3000.0}  # Hz: by it, one hears who talks in a bed


def side(name):
    return "training" if partition(name) == "training" else "held out"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Speakers who whistle, those who are held out higher than the others."""
    folder = tmp_path_factory.mktemp("speech") / "readers"
    folder.mkdir()
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    for number in range(20):
        for utterance in range(2):
            tone = 0.1 * np.sin(2.0 * np.pi * TONES[side(str(number))] * time)
            soundfile.write(folder / f"{number}-1-{utterance}.wav", tone, SAMPLE_RATE)
    return folder.parent


def command(*arguments):
    return run(*arguments, start=lambda: typer.run(beds.main))


@pytest.fixture(scope="module")
def made(speech, tmp_path_factory):
    dest = tmp_path_factory.mktemp("beds") / "new"
    shown = command(speech, dest, "--count", "8", "--seconds", "6")
    assert (shown.returncode, shown.stderr.strip()) == (0, "")
    return {path.name: soundfile.read(path)[0] for path in sorted(dest.iterdir())}, shown.stdout


def share_below(sound, border):
    power = np.square(np.abs(np.fft.rfft(sound)))
    frequency = np.fft.rfftfreq(len(sound), 1.0 / SAMPLE_RATE)
    return power[frequency < border].sum() / power.sum()


def test_nobody_who_is_held_out_talks_in_a_bed_that_is_trained_on(made):
    sounds, said = made
    trained = [name for name in sounds if side(name[: -len(".wav")]) == "training"]
    assert len(trained) == 8
    assert f"8 beds to train on, {len(sounds) - 8} held out" in said
    for name, sound in sounds.items():
        assert share_below(sound, 1000.0) == pytest.approx(float(name in trained), abs=0.05), name


def test_beds_are_as_long_and_as_loud_as_is_said(made):
    for sound in made[0].values():
        assert len(sound) == 6 * SAMPLE_RATE
        assert 20.0 * np.log10(beds.rms(sound)) == pytest.approx(beds.LEVEL_DB, abs=0.5)


def test_a_seed_makes_the_same_beds(speech, made, tmp_path):
    for seed in (0, 1):
        assert (
            command(speech, tmp_path / str(seed), "--count", "8", "--seconds", "6", "--seed", str(seed)).returncode == 0
        )
    for name, sound in made[0].items():
        same, other = (soundfile.read(tmp_path / str(seed) / name)[0] for seed in (0, 1))
        assert np.array_equal(same, sound)
        assert not np.array_equal(other, sound)


def test_names_put_beds_into_their_partitions():
    listed = list(beds.names(50))
    assert sum(trained for _, trained in listed) == 50
    assert 0 < sum(not trained for _, trained in listed) < 30
    assert all(trained == (partition(name[: -len(".wav")]) == "training") for name, trained in listed)


def test_music_of_the_same_partition_is_under_some(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(beds, "MUSIC_SHARE", 1.0)
    monkeypatch.setattr(beds, "ROOM_SHARE", 0.0)
    for number in range(20):
        tone = 0.1 * np.sin(np.arange(SAMPLE_RATE) * (1.5 if side(str(number)) == "training" else 2.5))
        soundfile.write(tmp_path / f"{number}.wav", tone, SAMPLE_RATE)
    of, music = beds.speakers(beds.parted(speech)[True]), beds.parted(tmp_path)[True]
    quiet = beds.bed(np.random.default_rng(0), of, [], 6.0)
    played = beds.bed(np.random.default_rng(0), of, music, 6.0)
    assert share_below(quiet, 1000.0) > 0.99
    assert share_below(played, 1000.0) < 0.99
    assert share_below(played, 5000.0) > 0.999


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    refused(command(tmp_path / "none", tmp_path / "out"), "no such folder", tmp_path / "none")
    name = next(n for n in map(str, range(40)) if side(n) == "training")
    soundfile.write(tmp_path / f"{name}.wav", np.ones(SAMPLE_RATE), SAMPLE_RATE)
    refused(command(tmp_path, tmp_path / "out"), "has no speaker that is held out", tmp_path)
