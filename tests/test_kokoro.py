"""Words that Kokoro says: the real kokoro-onnx, with a network in place of its own (92 MB) that hums.

A phoneme is a tenth of a second at the usual speed; the pitch is the mean of the style, so what was given can be heard.
"""

import itertools

import librosa
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from data_scripts import accents, kokoro, synthesize
from speechrnn import audio
from speechrnn.errors import InputError

PHONEME_SAMPLES, RATE = 2400, 24_000
PITCHES = {"af_low": 100.0, "bm_high": 300.0}  # Hz
app = synthesize.typer.Typer()
app.command()(synthesize.main)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As Kokoro's release: a graph with its inputs, and styles for each number of phonemes."""
    into = tmp_path_factory.mktemp("kokoro")
    constants = {
        "a_phoneme": np.float32(PHONEME_SAMPLES),
        "zero": np.float32(0),
        "one": np.float32(1),
        "turn": np.float32(2 * np.pi / RATE),
        "second": np.array(1),
    }
    nodes = [
        helper.make_node("Shape", ["tokens"], ["shape"]),
        helper.make_node("Gather", ["shape", "second"], ["count"]),
        helper.make_node("Cast", ["count"], ["phonemes"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["phonemes", "a_phoneme"], ["samples"]),
        helper.make_node("ReduceMin", ["speed"], ["fast"], keepdims=0),
        helper.make_node("Div", ["samples", "fast"], ["length"]),
        helper.make_node("Range", ["zero", "length", "one"], ["times"]),
        helper.make_node("ReduceMean", ["style"], ["pitch"], keepdims=0),
        helper.make_node("Mul", ["pitch", "turn"], ["step"]),
        helper.make_node("Mul", ["times", "step"], ["phase"]),
        helper.make_node("Sin", ["phase"], ["audio"]),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    outputs = [helper.make_tensor_value_info("audio", TensorProto.FLOAT, [None])]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "hum", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, into / kokoro.MODEL)
    with (into / kokoro.VOICES).open("wb") as file:
        np.savez(file, **{name: np.full((510, 1, 256), pitch, np.float32) for name, pitch in PITCHES.items()})
    return into


def heard_pitch(sound):
    said = np.flatnonzero(np.abs(sound) > 0.1)
    return np.median(librosa.yin(sound[said[0] : said[-1]], fmin=50, fmax=500, sr=16_000))


@pytest.mark.slow
@pytest.mark.parametrize(("voice", "pitch"), [("af_low", 100), ("bm_high", 300), ("af_low+bm_high", 200)])
def test_a_voice_is_one_of_its_own_or_one_between_two(folder, voice, pitch):
    assert heard_pitch(kokoro.read(folder).speak("stop", voice, 1.0)) == pytest.approx(pitch, rel=0.02)


def test_the_first_voice_gives_the_accent(folder, monkeypatch):
    spoken = []
    tokenizer = kokoro.read(folder)._kokoro.tokenizer
    phonemize = tokenizer.phonemize
    monkeypatch.setattr(tokenizer, "phonemize", lambda text, lang: spoken.append(phonemize(text, lang)) or spoken[-1])
    for voice in ("af_low+bm_high", "bm_high+af_low"):
        kokoro.read(folder).speak("water", voice, 1.0)
    american, british = spoken
    assert american != british


def test_an_accent_changes_the_phones_that_are_spoken(folder, monkeypatch):
    spoken = []
    create = kokoro.read(folder)._kokoro.create
    monkeypatch.setattr(
        kokoro.read(folder)._kokoro,
        "create",
        lambda said, *more, **named: spoken.append(said) or create(said, *more, **named),
    )
    for voice in ("af_low", "af_low@german", "af_low+bm_high@spanish"):
        kokoro.read(folder).speak("one", voice, 1.0)
    assert spoken == ["wˌʌn", "vˌan", "wˌan"]


def test_takes_with_accents_are_said_by_speakers_of_several_languages(tmp_path, folder, monkeypatch):
    voices = []
    speak = synthesize.speak
    monkeypatch.setattr(
        synthesize, "speak", lambda word, voice, *more: voices.append(voice) or speak(word, voice, *more)
    )
    arguments = ("--takes", 12, "--accents", "--engine", "kokoro", "--kokoro", folder)
    assert run(tmp_path, "go", *arguments).exit_code == 0
    drawn = {voice.partition("@")[2] for voice in voices}
    assert len(drawn) > 2
    assert drawn <= set(accents.LANGUAGES)


def test_it_is_slower_at_a_lower_speed_and_as_long_at_a_higher_pitch(folder):
    def seconds(speed, pitch):
        sound = synthesize.speak("yes", "bm_high", speed, pitch, synthesize.Engine.kokoro, folder)
        return np.count_nonzero(np.abs(sound) > 0.02) / audio.SAMPLE_RATE

    assert seconds(100, 50) == pytest.approx(1.5 * seconds(150, 50), rel=0.05)
    assert seconds(150, 80) == pytest.approx(seconds(150, 50), rel=0.05)


@pytest.mark.slow
def test_a_higher_pitch_is_higher(folder):
    low, high = (synthesize.speak("yes", "bm_high", 150, p, synthesize.Engine.kokoro, folder) for p in (20, 80))
    assert heard_pitch(high) == pytest.approx(heard_pitch(low) * 2 ** (60 / synthesize.OCTAVE), rel=0.02)


def test_takes_differ_and_come_out_the_same_for_the_same_seed(tmp_path, folder):
    for into in ("a", "b"):
        arguments = ("--takes", 4, "--seed", 1, "--engine", "kokoro", "--kokoro", folder)
        assert run(tmp_path / into, "stop", *arguments).exit_code == 0
    first, second = ([audio.load(tmp_path / into / "stop" / f"{i}.wav") for i in range(4)] for into in ("a", "b"))
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(first))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_without_takes_a_word_is_a_file(tmp_path, folder):
    said = run(tmp_path, "stop", "--engine", "kokoro", "--kokoro", folder, "--voice", "bm_high")
    assert said.output.startswith(f"{tmp_path / 'stop.wav'}: ")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("stop", "--voice", "nobody"), "nobody"),
        (("stop", "--voice", "af_low@martian"), "martian"),
        (("stop", "--voice", "af_low@"), "german"),
        (("stop", "--accents"), "--takes"),
        (("stop", "--voice", "af_low", "--speed", "80", "--pitch", "99"), "0.5 to 2 times"),
        (("。", "--voice", "af_low"), "。"),
    ],
)
def test_what_it_cannot_say_is_named_in_one_line(tmp_path, folder, arguments, match):
    refused = run(tmp_path / "out", *arguments, "--engine", "kokoro", "--kokoro", folder)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), refused.output
    assert match in refused.stderr
    assert not (tmp_path / "out").exists()


def test_missing_files_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(InputError, match=rf"{kokoro.MODEL} and no {kokoro.VOICES}: get them from https://"):
        kokoro.Kokoro(tmp_path)
