"""A stream of clips: what is in it, where the labels say it is, and how loud the noise is."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer

from data_scripts import make_stream as script
from speechrnn import audio
from speechrnn.evaluation.corpus import BACKGROUND, Clip, evaluation_clips, task_labels
from speechrnn.evaluation.partition import partition
from speechrnn.evaluation.streams import held_out_noise, make_stream, save
from speechrnn.labels import read_labels
from tests.support.clips import TRAINING, VALIDATION, burst
from tests.support.command_line import run

RATE = 16_000
LABELS = task_labels("yes,no")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Words that are bursts of noise at 0.3 to 0.7 s, of many levels; a background that changes at its last fifth."""
    folder = tmp_path_factory.mktemp("commands")
    for w, word in enumerate(("yes", "no", "house")):
        (folder / word).mkdir()
        for i, name in enumerate([*VALIDATION[:10], TRAINING[0]]):
            level = 0.02 * 1.3**i
            sound = burst((0.3, 0.7), level=level, floor=level / 300, seed=100 * w + i)
            soundfile.write(folder / word / name, sound.clip(-1, 1), RATE)
    (folder / BACKGROUND).mkdir()
    background = 0.01 * np.random.default_rng(0).standard_normal(100 * RATE)
    background[: 80 * RATE] = 0.5  # what training hears
    soundfile.write(folder / BACKGROUND / "hum.wav", background, RATE)
    return folder


@pytest.fixture(scope="module")
def clips(folder):
    return evaluation_clips(folder, LABELS, "validation")


def noise(seconds=7.0, level=0.2):
    return (level * np.random.default_rng(1).standard_normal(round(seconds * RATE))).astype(np.float32)


def cut(samples, label):
    return samples[round(label.start * RATE) : round(label.end * RATE)]


def power(samples):
    return np.square(samples, dtype=np.float64).mean()


def test_every_clip_lies_unchanged_in_its_interval(clips):
    samples, _, intervals = make_stream(clips)
    sounds = [clip.sound() for clip in clips]
    there = sorted(cut(samples, interval).tobytes() for interval in intervals)
    assert there == sorted((s if isinstance(s, np.ndarray) else audio.load(s)).tobytes() for s in sounds)
    assert sorted(interval.word for interval in intervals) == sorted(clip.label for clip in clips)


def test_words_are_labelled_where_they_are_loud(clips):
    _, words, intervals = make_stream(clips)
    said = [interval for interval in intervals if interval.word in ("yes", "no")]
    assert len(said) == 20
    assert [word.word for word in words] == [interval.word for interval in said]
    for word, interval in zip(words, said, strict=True):
        assert (word.start - interval.start, word.end - interval.start) == pytest.approx((0.3, 0.7), abs=0.021)


def test_hiss_is_in_the_gaps_alone_and_as_loud_as_asked(clips):
    clean, words, intervals = make_stream(clips, seed=3)
    samples, *labels = make_stream(clips, seed=3, hiss=-40.0)
    assert labels == [words, intervals]
    between = np.ones(len(samples), bool)
    for interval in intervals:
        between[round(interval.start * RATE) : round(interval.end * RATE)] = False
        np.testing.assert_array_equal(cut(samples, interval), cut(clean, interval))
    assert not clean[between].any()
    assert 10.0 * np.log10(power(samples[between])) == pytest.approx(-40.0, abs=0.2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 2))
def test_gaps_are_of_any_length_that_is_asked_for(clips, seed, shortest, more):
    samples, _, intervals = make_stream(clips, seed=seed, gap=(shortest, shortest + more))
    ends = [0.0, *(interval.end for interval in intervals)]
    starts = [*(interval.start for interval in intervals), len(samples) / RATE]
    for end, start in zip(ends, starts, strict=True):
        assert shortest - 1e-4 <= start - end <= shortest + more + 1e-4
        assert not samples[round(end * RATE) : round(start * RATE)].any()


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 60))
def test_a_stream_is_no_longer_than_was_asked_for(clips, seconds):
    samples, _, intervals = make_stream(clips, seconds=seconds)
    assert all(interval.end <= seconds for interval in intervals)
    assert len(samples) / RATE <= seconds + 2.0  # the gap at the end


def test_the_seed_decides_everything(clips):
    one, again, other = (make_stream(clips, seed=seed, noise=[noise()], snr=10.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], again[0])
    assert one[1:] == again[1:]
    assert one[2] != other[2]


@pytest.mark.parametrize("snr", [20.0, 5.0, -5.0])
def test_noise_has_its_level_against_every_word(clips, snr):
    samples, words, _ = make_stream(clips, noise=[noise(), noise(3.0, 0.02)], snr=snr)
    quiet = power(samples[: round(0.25 * RATE)][400:])  # within the first gap, after the fade
    assert 10 * np.log10(quiet) == pytest.approx(-26.0 - snr, abs=0.5)
    for word in words:
        assert 10 * np.log10((power(cut(samples, word)) - quiet) / quiet) == pytest.approx(snr, abs=1.5)


def test_noise_runs_to_the_end(clips):
    samples, _, _ = make_stream(clips, gap=(1.0, 1.0), noise=[noise(0.7)], snr=10.0)
    assert power(samples[-RATE // 2 :]) > 0.3 * 10**-3.6


def test_noise_that_cannot_be_heard_is_refused(clips):
    with pytest.raises(ValueError, match="no noise but silence"):
        make_stream(clips, noise=[np.zeros(RATE, np.float32)], snr=10.0)


def test_a_clip_that_is_too_short_is_named(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.zeros(100), RATE)
    with pytest.raises(ValueError, match=r"click\.wav.* too short"):
        make_stream([Clip(tmp_path / "click.wav", "yes", "yes")])


def test_noise_is_what_training_never_hears(folder, tmp_path):
    names = [f"{i}.wav" for i in range(60)]
    kept = [name for name in names if partition(name.removesuffix(".wav")) != "training"]
    for i, name in enumerate(names):
        soundfile.write(tmp_path / name, np.full(RATE, (i + 1) / 128), RATE)
    pieces = held_out_noise(folder, tmp_path, 0)
    constants = {round(float(piece[0]) * 128) for piece in pieces if len(piece) == RATE}
    assert constants == {names.index(name) + 1 for name in kept}
    assert sorted(len(piece) for piece in pieces if len(piece) != RATE) == [20 * RATE]
    assert all(abs(piece).max() < 0.49 for piece in pieces)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_stream_is_written_with_its_tracks_and_nothing_else(clips, tmp_path, suffix):
    samples, words, intervals = make_stream(clips, seconds=10.0)
    save(tmp_path / f"x{suffix}", samples, words, intervals)
    assert {path.name for path in tmp_path.iterdir()} == {f"x{suffix}", "x.txt", "x.clips.txt"}
    assert soundfile.info(tmp_path / f"x{suffix}").subtype == "PCM_16"
    np.testing.assert_allclose(audio.load(tmp_path / f"x{suffix}"), samples, atol=1 / 32768)
    assert [label.word for label in read_labels(tmp_path / "x.txt")] == [word.word for word in words]
    assert [label.word for label in read_labels(tmp_path / "x.clips.txt")] == [i.word for i in intervals]


def make(*arguments):
    app = Typer(pretty_exceptions_enable=False)
    app.command()(script.main)
    return run(*arguments, start=app)


def test_the_command_makes_a_stream(folder, tmp_path):
    out = tmp_path / "x.wav"
    shown = make(folder, out, "--words", "yes,no", "--gap", 0.1, 0.2, "--snr", 10, "--minutes", 0.2)
    assert shown.returncode == 0, shown.stderr
    assert "minutes" in shown.stdout
    assert audio.load(out).any()
    assert {label.word for label in read_labels(tmp_path / "x.txt")} == {"yes", "no"}


@pytest.mark.parametrize(
    ("out", "options", "named"),
    [
        ("x.mp3", [], "x.mp3"),
        ("missing/x.wav", [], "missing"),
        ("x.wav", ["--gap", 2, 1], "--gap"),
        ("x.wav", ["--hiss", 0], "--hiss"),
        ("x.wav", ["--minutes", 0], "--minutes"),
        ("x.wav", ["--snr", "nan"], "--snr"),
        ("x.wav", ["--noise", "."], "--noise"),
        ("x.wav", ["--words", "yes,yes"], "yes,yes"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, tmp_path, out, options, named):
    shown = make(folder, tmp_path / out, *options)
    assert shown.returncode == 2
    assert len(shown.stderr.splitlines()) == 1
    assert named in shown.stderr
    assert not list(tmp_path.iterdir())
