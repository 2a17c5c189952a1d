"""Words that a machine says: in the middle of a second, and many takes in the layout that training reads."""

import itertools
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from data_scripts import synthesize
from speechrnn import audio
from speechrnn.training import corpus

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
app = synthesize.typer.Typer()
app.command()(synthesize.main)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@needs_espeak
def test_a_word_is_spoken_in_the_middle_of_a_second():
    sound = synthesize.speak("stop", "en-us", 150, 50)
    assert len(sound) == 16_000
    assert abs(sound).max() == pytest.approx(synthesize.PEAK, rel=1e-3)
    assert abs(sound[:800]).max() < 0.01
    assert abs(sound[-800:]).max() < 0.01


@needs_espeak
def test_takes_differ_and_come_out_the_same_for_the_same_seed(tmp_path):
    listed = tmp_path / "words.txt"
    listed.write_text("town\n\n")
    for folder in ("a", "b"):
        assert run(tmp_path / folder, "stop", "--list", listed, "--takes", 3, "--seed", 1).exit_code == 0
    clips = corpus.word_clips(tmp_path / "a", ("stop", corpus.UNKNOWN), None)
    assert sorted((clip.word, clip.label) for clip in clips) == [("stop", "stop")] * 3 + [("town", "_unknown_")] * 3
    sounds = [audio.load(clip.path) for clip in clips]
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(sounds))
    for clip, sound in zip(clips, sounds, strict=True):
        again = audio.load(tmp_path / "b" / clip.path.relative_to(tmp_path / "a"))
        assert np.array_equal(sound, again)


@needs_espeak
def test_without_takes_a_word_is_a_file(tmp_path):
    assert run(tmp_path, "stop").output.startswith(f"{tmp_path / 'stop.wav'}: ")
    assert audio.load(tmp_path / "stop.wav").size >= 16_000


@pytest.mark.parametrize(
    ("arguments", "match"), [((), "WORD"), (("--list", "none.txt"), "none.txt"), (("--list", "."), "--list")]
)
def test_bad_input_is_named_in_one_line(tmp_path, arguments, match):
    refused = run(tmp_path / "out", *arguments)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert match in refused.stderr
    assert not (tmp_path / "out").exists()
