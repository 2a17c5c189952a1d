"""Arrays from Python: the same is refused wherever they are given, and nothing is changed by it."""

import numpy as np
import pytest

import speechrnn
from speechrnn import audio
from speechrnn.errors import AudioError
from tests.support.command_line import ROOT
from tests.support.tone_model import said, write_tone_model

YES = ROOT / "examples" / "yes.wav"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


@pytest.fixture(scope="module")
def spotter(model):
    return speechrnn.Spotter(speechrnn.load(model))


BAD = [
    (np.full(320, 12_000, np.int16), "int16"),
    (np.zeros(320, np.uint8), "uint8"),
    (np.zeros(320, bool), "bool"),
    (np.zeros(320, complex), "complex"),
    (np.zeros((320, 1), np.float32), "mono"),
    (np.zeros((1, 320), np.float32), "mono"),
    (np.float32(0.0), "float32"),
    (np.full(320, np.nan, np.float32), "NaN"),
    (np.array([0.0] * 300 + [np.inf], np.float32), "infinite"),
    (np.full(320, 1e300), "infinite"),
    ([0.0] * 320, "list"),
    (bytes(640), "from_pcm"),
    (None, "NoneType"),
]


@pytest.mark.parametrize(("samples", "told"), BAD, ids=[told for _, told in BAD])
def test_an_array_that_is_no_sound_is_refused_and_changes_nothing(spotter, samples, told):
    sound = said("yes", "no")
    spotter.reset()
    expected = spotter.process(sound) + spotter.finish()
    spotter.reset()
    found = spotter.process(sound[:12_345])
    with pytest.raises(AudioError, match=told) as refused:
        spotter.process(samples)
    assert str(refused.value).count("\n") == 0
    assert found + spotter.process(sound[12_345:]) + spotter.finish() == expected
    assert [d.label for d in expected] == ["yes", "no"]


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (np.zeros((1, 320), np.int16), "int16"),
        (np.full((1, 320), np.nan, np.float32), "NaN"),
        (np.zeros(320, np.float32), "shape"),
        (np.zeros((2, 320), np.float32), "shape"),
        (np.zeros((1, 321), np.float32), "multiple of 320"),
        (np.zeros((1, 0), np.float32), "shape"),
    ],
)
def test_a_stream_refuses_the_same_and_stays_as_it_was(samples, told):
    stream = speechrnn.load().stream()
    sound = audio.load(YES)[None, : 320 * 49]
    expected = stream.process(sound)
    stream.reset()
    first = stream.process(sound[:, :3200])
    with pytest.raises(AudioError, match=told):
        stream.process(samples)
    np.testing.assert_allclose(np.concatenate([first, stream.process(sound[:, 3200:])], axis=1), expected, atol=1e-5)


def test_floats_of_other_sizes_are_taken(spotter):
    sound = said("yes", "no")
    found = []
    for kind in (np.float16, np.float32, np.float64):
        spotter.reset()
        found.append([d.label for d in spotter.process(sound.astype(kind)) + spotter.finish()])
    assert found == [["yes", "no"]] * 3
