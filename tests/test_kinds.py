"""A model's figures by kind of sound: each kind is what its name says, and is counted where it belongs."""

import json

import numpy as np
import pytest
import soundfile
import typer

from data_scripts import kinds
from speechrnn.audio import SAMPLE_RATE
from speechrnn.evaluation import corpus
from speechrnn.evaluation.partition import partition
from tests.support.clips import HELD_OUT, TRAINED, hum, little_of_everything, said
from tests.support.command_line import refused, run

SECOND = SAMPLE_RATE
SPEAKERS = [name for name in (f"so{number:04}" for number in range(60)) if partition(name) != "training"]


def command(*arguments):
    return run(*arguments, start=lambda: typer.run(kinds.main))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Besides what validate needs: a learner whose word "left" is a sentence and whose "stop" a string of digits."""
    folder = little_of_everything(tmp_path_factory.mktemp("data"))
    learners = folder / "speech" / "speechocean762"
    for number, word in enumerate(("left", "stop")):
        said(learners / f"{SPEAKERS[0]}-{number}.wav", word)
    texts = ("go left he said", "one two a b seven")
    lines = [f"speechocean762/{SPEAKERS[0]}-{number}\t{text}\n" for number, text in enumerate(texts)]
    (folder / "speech" / "transcripts.tsv").write_text("".join(lines), encoding="utf-8")
    said(folder / "speech" / "librispeech" / f"{HELD_OUT}-1-1.wav", "marvin")
    hum(folder / "noise" / "esc10" / f"{HELD_OUT}.wav", 3.0)
    hum(folder / "noise" / "esc10" / f"{TRAINED}.wav", 30.0)
    hum(folder / "beds" / f"{HELD_OUT}.wav", 4.0)
    return folder


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "kinds.json"
    shown = command("--data", data, "--json", out)
    assert shown.returncode == 0, shown.stderr
    return {"stdout": shown.stdout, "stderr": shown.stderr, **json.loads(out.read_text())}


def test_words_are_measured_in_every_kind_of_sound(made):
    assert list(made["words"]) == [
        *("as they are", "noise at 10 dB", "noise at 0 dB", "far, 0.5 to 0.9 s, noise at 15 dB"),
        *(
            "one talker, 20 dB below",
            "one talker, 10 dB below",
            "four talkers, 20 dB below",
            "four talkers, 10 dB below",
        ),
        *("ten times, clipped", "30 dB quieter", "telephone", "cut tight"),
    ]
    plain = made["words"]["as they are"]  # two speakers; one of the two clips of "no" says "go"
    assert plain["words"] == pytest.approx(7 / 8)
    assert plain["weakest_word"] == "no"
    assert made["words"]["30 dB quieter"]["recalls"]["yes"] == 1.0
    assert made["words"]["noise at 10 dB"]["clips"] == plain["clips"] - 1  # without the clip of silence


def test_streams_hold_all_words_with_and_without_sound_behind_them(made):
    assert {row["words"] for row in made["streams"].values()} == {8}
    assert len(made["streams"]) == 6
    assert made["streams"]["as they are"]["missed_share"] == pytest.approx(1 / 8)


def test_false_accepts_are_counted_in_the_kind_that_they_are_in(made):
    quiet = made["quiet"]
    assert list(quiet) == [
        *("read speech", "learners, sentences", "learners, digits and letters", "household", "music"),
        "talkers, television",
    ]
    assert quiet["learners, sentences"]["taken_for"] == {"left": 1}
    assert quiet["learners, digits and letters"]["taken_for"] == {"stop": 1}
    assert quiet["read speech"]["false_accepts"] == 0
    assert quiet["household"]["hours"] == pytest.approx(3.0 / 3600.0)  # what is held out alone
    row = quiet["learners, sentences"]
    assert row["false_accepts_per_hour"] == pytest.approx(1.0 / row["hours"])
    assert "no held-out sound of coffee orders, public places, ambience" in made["stderr"]


@pytest.mark.slow
def test_a_seed_gives_the_same_figures(data, made, tmp_path):
    again = command("--data", data, "--json", tmp_path / "again.json")
    assert again.stdout == made["stdout"]
    few = command("--data", data, "--clips", "4", "--minutes", "0.1", "--json", tmp_path / "few.json")
    assert few.returncode == 0
    figures = json.loads((tmp_path / "few.json").read_text())
    assert figures["words"]["as they are"]["clips"] == 4
    assert max(row["hours"] for row in figures["streams"].values()) < 0.1 / 60.0 + 2.5 / 3600.0


def test_digits_and_letters_are_told_from_sentences():
    assert all(map(kinds.is_spelled, ("nine two one", "m i k e", "double oh seven", "S P double E D")))
    assert not any(map(kinds.is_spelled, ("", "one day a fox", "i am here", "two of us went home")))


# What is done to a clip


@pytest.fixture
def clip():
    sound = np.zeros(SECOND, np.float32)
    sound[6000:10_000] = 0.2 * np.sin(np.arange(4000) * 0.3)
    return sound


@pytest.fixture
def behind():
    rng = np.random.default_rng(0)
    return kinds.Behind(*([(0.01 * rng.standard_normal(3 * SECOND)).astype(np.float32)] * 3 for _ in range(2)))


@pytest.mark.parametrize("below", [0.0, 10.0, 20.0])
def test_noise_is_below_the_word_and_talkers_are_below_its_loudest_tenth(clip, behind, below):
    rng = np.random.default_rng(0)
    noise = kinds.with_noise(behind, below)(rng, clip) - clip
    assert 20 * np.log10(kinds.word_level(clip) / kinds.rms(noise)) == pytest.approx(below, abs=0.01)
    for count in (1, 4):
        said_behind = kinds.with_talkers(behind, count, below)(rng, clip) - clip
        assert 20 * np.log10(kinds.loudest_tenth(clip) / kinds.rms(said_behind)) == pytest.approx(below, abs=0.01)


def test_a_far_word_is_reverberant(clip):
    silent = kinds.Behind([np.full(SECOND, 1e-9, np.float32)], [])
    heard = kinds.far(silent)(np.random.default_rng(0), clip)
    assert len(heard) == SECOND
    assert not np.abs(heard[:6000]).max() > 1e-3
    assert kinds.rms(heard[11_000:13_000]) > 0.05 * kinds.rms(heard[6000:10_000])  # after its end


def test_a_telephone_passes_nothing_above_4_khz():
    time = np.arange(SECOND) / SECOND
    low, high = (kinds.telephone(None, (0.3 * np.sin(2 * np.pi * f * time)).astype(np.float32)) for f in (1000, 6000))
    assert kinds.rms(low) == pytest.approx(0.3 / np.sqrt(2.0), rel=0.02)
    assert kinds.rms(high) < 0.003


def test_a_tight_cut_is_the_word_alone(clip):
    assert len(kinds.tight(None, clip)) == pytest.approx(4000 + 2 * 800, abs=700)


def test_beds_of_short_recordings_are_long_enough():
    piece = kinds.cut(np.random.default_rng(0), [np.ones(10, np.float32)], 35)
    assert piece.shape == (35,)
    assert piece.all()


def test_a_folder_without_the_words_is_named(tmp_path):
    refused(command("--data", tmp_path), tmp_path)
    assert corpus.BACKGROUND == "_background_noise_"
    soundfile.write(tmp_path / "x.wav", np.zeros(SECOND), SECOND)
    refused(command("--data", tmp_path, "--json", tmp_path / "none" / "x.json"), "--json")
