"""Raw PCM of every kind becomes the floats that libsndfile makes of it."""

import io

import numpy as np
import pytest
import soundfile

from speechrnn import audio, pcm
from speechrnn.errors import InputError
from tests.support.pipes import PLAIN, RATE, encoded, raw
from tests.support.tone_model import said


@pytest.mark.parametrize(("encoding", "subtype"), PLAIN.items())
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_what_libsndfile_makes_of_them(encoding, subtype, channels):
    samples = np.random.default_rng(0).uniform(-1, 1, (500, channels))
    expected = soundfile.read(io.BytesIO(encoded(samples, subtype=subtype)), dtype="float32", always_2d=True)[0]
    found = pcm.Layout(RATE, encoding, channels).decode(raw(samples, RATE, subtype))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("law", ["alaw", "mulaw"])
def test_every_code_of_g711_has_its_value(law):
    codes = bytes(range(256))
    expected = soundfile.read(
        io.BytesIO(codes), samplerate=8000, channels=1, format="RAW", subtype=PLAIN[law], dtype="float32"
    )[0]
    np.testing.assert_array_equal(pcm.Layout(8000, law).decode(codes)[:, 0], expected)


def test_24_bits_in_four_bytes_are_the_lower_three_whatever_the_fourth_holds():
    values = np.array([0, 1, -1, 2**22, -(2**23), 2**23 - 1])
    for upper in (0, 0x5A00_0000):
        stored = ((values & 0xFF_FFFF) | upper).astype("<i4").tobytes()
        np.testing.assert_array_equal(pcm.Layout(RATE, "s24le-in-32").decode(stored)[:, 0] * 2**23, values)


def test_from_pcm_gives_what_a_file_of_that_sound_gives():
    samples = np.stack([said("yes", rate=44_100), 0 * said("yes", rate=44_100)], axis=1)
    made = audio.from_pcm(raw(samples, 44_100, "PCM_24"), 44_100, "s24le", 2)
    np.testing.assert_array_equal(made, audio.load(encoded(samples, 44_100, subtype="PCM_24")))
    assert np.abs(audio.from_pcm(raw(samples, 44_100, "PCM_24"), 44_100, "s24le", 2, channel=2)).max() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((b"abc",), "frames of 2 bytes"),
        ((b"", 10), "10 Hz"),
        ((b"", RATE, "s17le"), "s17le"),
        ((b"", RATE, 5), "5"),
        ((b"", RATE, "u8", 0), "0 channels"),
        ((np.float32([np.nan]).tobytes(), RATE, "f32le"), "NaN"),
        ((np.array([1e300]).tobytes(), RATE, "f64le"), "infinite"),
    ],
)
def test_pcm_that_can_not_be_is_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        audio.from_pcm(*arguments)


@pytest.mark.parametrize(("width", "encoding"), [(1, "u8"), (2, "s16le"), (3, "s24le"), (4, "s32le")])
def test_a_width_in_bytes_is_that_of_a_wav(width, encoding):
    data = np.random.default_rng(0).bytes(12 * width)
    np.testing.assert_array_equal(audio.from_pcm(data, RATE, width), audio.from_pcm(data, RATE, encoding))
