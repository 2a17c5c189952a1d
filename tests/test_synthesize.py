"""Words that a machine says: in the middle of a second, and many takes in the layout that training reads."""

import itertools
import shutil

import librosa
import numpy as np
import pytest
from typer.testing import CliRunner

from data_scripts import synthesize
from speechrnn import audio
from speechrnn.evaluation import corpus

each_engine = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(engine, marks=pytest.mark.skipif(not shutil.which(engine), reason=f"{engine} is not installed"))
        for engine in (synthesize.Engine.espeak_ng, synthesize.Engine.flite)
    ],
)
app = synthesize.typer.Typer()
app.command()(synthesize.main)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@each_engine
def test_a_word_is_spoken_in_the_middle_of_a_second(engine):
    sound = synthesize.speak("stop", synthesize.USUAL_VOICES[engine], 150, 50, engine)
    assert len(sound) == 16_000
    assert abs(sound).max() == pytest.approx(synthesize.PEAK, rel=1e-3)
    assert abs(sound[:800]).max() < 0.01
    assert abs(sound[-800:]).max() < 0.01


@each_engine
@pytest.mark.parametrize(("setting", "low", "high"), [("pitch", 20, 80), ("speed", 250, 110)])
def test_a_lower_pitch_is_lower_and_a_lower_speed_longer(engine, setting, low, high):
    def said(value):
        given = {"speed": 150, "pitch": 50, setting: value}
        return synthesize.speak("one", synthesize.USUAL_VOICES[engine], **given, engine=engine)

    def measured(sound):
        if setting == "speed":
            return np.count_nonzero(np.abs(sound) > 0.02)
        voiced = np.flatnonzero(np.abs(sound) > 0.1)
        return np.median(librosa.yin(sound[voiced[0] : voiced[-1]], fmin=50, fmax=400, sr=16_000))

    assert measured(said(low)) < 0.9 * measured(said(high))


@each_engine
def test_takes_differ_and_come_out_the_same_for_the_same_seed(tmp_path, engine):
    listed = tmp_path / "words.txt"
    listed.write_text("town\n\n")
    for folder in ("a", "b"):
        assert (
            run(tmp_path / folder, "stop", "--list", listed, "--takes", 3, "--seed", 1, "--engine", engine).exit_code
            == 0
        )
    clips = corpus.word_clips(tmp_path / "a", ("stop", corpus.UNKNOWN), None)
    assert sorted((clip.word, clip.label) for clip in clips) == [("stop", "stop")] * 3 + [("town", "_unknown_")] * 3
    sounds = [audio.load(clip.path) for clip in clips]
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(sounds))
    for clip, sound in zip(clips, sounds, strict=True):
        again = audio.load(tmp_path / "b" / clip.path.relative_to(tmp_path / "a"))
        assert np.array_equal(sound, again)


@each_engine
def test_without_takes_a_word_is_a_file(tmp_path, engine):
    assert run(tmp_path, "stop", "--engine", engine).output.startswith(f"{tmp_path / 'stop.wav'}: ")
    assert audio.load(tmp_path / "stop.wav").size >= 16_000


@each_engine
def test_a_voice_that_is_not_there_is_named(tmp_path, engine):
    refused = run(tmp_path, "stop", "--engine", engine, "--voice", "nobody")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "nobody" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "match"), [((), "WORD"), (("--list", "none.txt"), "none.txt"), (("--list", "."), "--list")]
)
def test_bad_input_is_named_in_one_line(tmp_path, arguments, match):
    refused = run(tmp_path / "out", *arguments)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert match in refused.stderr
    assert not (tmp_path / "out").exists()
