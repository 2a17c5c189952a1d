"""Sound in any form comes out as float32 mono 16 kHz, in one piece or in many, or is refused in one line."""

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn import audio
from speechrnn.errors import AudioError
from tests.support.formats import encoded, level_at, noise, refusal, tone, wav

# (format, subtype, how far a sample may be off): half a step of the samples, or what the codec loses
FORMATS = [
    ("WAV", "PCM_U8", 1 / 128),
    ("WAV", "PCM_16", 1 / 32768),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "PCM_32", 1e-6),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAV", "ULAW", 0.02),
    ("WAV", "ALAW", 0.02),
    ("WAV", "IMA_ADPCM", 0.05),
    ("WAVEX", "PCM_24", 1e-6),
    ("RF64", "PCM_16", 1 / 32768),
    ("W64", "PCM_16", 1 / 32768),
    ("AIFF", "PCM_16", 1 / 32768),
    ("AIFF", "FLOAT", 0),
    ("AU", "PCM_16", 1 / 32768),
    ("CAF", "PCM_16", 1 / 32768),
    ("CAF", "ALAC_16", 1 / 32768),
    ("NIST", "PCM_16", 1 / 32768),
    ("FLAC", "PCM_16", 1 / 32768),
    ("FLAC", "PCM_24", 1e-6),
    ("OGG", "VORBIS", 0.1),
    ("OGG", "OPUS", 0.1),
    ("MP3", "MPEG_LAYER_III", 0.1),
]


def ogg_checksum(page: bytes) -> int:
    """CRC-32 of a page whose own checksum is zero (RFC 3533, section 6)."""
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x04C1_1DB7 if checksum & 0x8000_0000 else 0)
            checksum &= 0xFFFF_FFFF
    return checksum


def decibels(samples: np.ndarray) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(10 * np.log10(np.mean(np.square(middle, dtype=float)) + 1e-20))


# What goes in


@pytest.mark.parametrize(("format", "subtype", "tolerance"), FORMATS)
def test_every_format_gives_the_same_sound(tmp_path, format, subtype, tolerance):
    sound = tone(440) + tone(1500, level=0.2)
    path = tmp_path / f"clip.{format.lower()}"
    path.write_bytes(encoded(sound, format=format, subtype=subtype))
    loaded = audio.load(path)
    assert loaded.dtype == np.float32
    assert loaded.ndim == 1
    assert len(sound) <= len(loaded) < len(sound) + 1024  # ADPCM fills its last block with silence
    inner = slice(500, -500)  # lossy codecs ring at the edges
    np.testing.assert_allclose(loaded[: len(sound)][inner], sound[inner], rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000])
def test_a_tone_keeps_its_length_frequency_and_level_at_any_rate(rate):
    loaded = audio.load(encoded(tone(1000, rate), rate, subtype="FLOAT"))
    assert abs(len(loaded) - 16_000) <= 1
    assert level_at(loaded, 1000) == pytest.approx(0.5, rel=1e-3)
    assert np.abs(loaded - tone(1000)[: len(loaded)])[1000:-1000].max() < 2e-3  # in phase: no delay


@pytest.mark.parametrize("frequency", [9_000, 12_000, 15_000, 20_000])
def test_a_tone_above_8_khz_dies_instead_of_folding_back(frequency):
    loaded = audio.load(encoded(tone(frequency, 48_000), 48_000, subtype="FLOAT"))
    assert decibels(loaded) < decibels(tone(frequency, 48_000)) - 60


@pytest.mark.parametrize("channels", range(1, 7))
def test_channels_are_averaged(channels):
    sound = np.stack([tone(300 * (c + 1), level=0.1 * (c + 1)) for c in range(channels)], axis=1)
    np.testing.assert_allclose(audio.load(encoded(sound, subtype="FLOAT")), sound.mean(axis=1), atol=1e-6)


def test_16_khz_mono_float_is_passed_through_bit_for_bit_even_beyond_full_scale():
    sound = noise(5000, level=4.0)
    np.testing.assert_array_equal(audio.load(encoded(sound, subtype="FLOAT")), sound)


def test_path_text_bytes_and_file_objects_give_the_same(tmp_path):
    data = encoded(tone(440, 44_100), 44_100)
    path = tmp_path / "clip.wav"
    path.write_bytes(data)
    expected = audio.load(path)
    at_end = io.BytesIO(data)
    at_end.seek(0, os.SEEK_END)  # as soundfile.write leaves it
    with open(path, "rb") as file:
        for source in (str(path), data, io.BytesIO(data), at_end, file):
            np.testing.assert_array_equal(audio.load(source), expected)
        assert not file.closed, "only what was opened here is closed here"
    assert not at_end.closed


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_a_pipe_works(format, subtype):
    data = encoded(tone(440), format=format, subtype=subtype)
    program = "import sys; from speechrnn import audio; sys.stdout.buffer.write(audio.load(sys.stdin.buffer).tobytes())"
    piped = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True).stdout
    np.testing.assert_array_equal(np.frombuffer(piped, dtype=np.float32), audio.load(data))


def test_reading_sound_at_16_khz_does_not_import_the_resampler():
    program = (
        "import io, sys; from speechrnn import audio; audio.load(sys.stdin.buffer); assert 'soxr' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], input=encoded(tone(440)), check=True)


# Piece by piece


@settings(deadline=None, max_examples=40)
@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]),
    samples=st.integers(100, 20_000),
    seconds=st.floats(0.001, 1.5),
    channels=st.integers(1, 2),
)
def test_joined_blocks_equal_the_whole(rate, samples, seconds, channels):
    data = encoded(noise(samples * channels).reshape(-1, channels), rate)
    pieces = list(audio.blocks(data, seconds=seconds))
    assert all(len(piece) for piece in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), audio.load(data))


@pytest.mark.parametrize(("format", "subtype", "_tolerance"), FORMATS)
def test_no_decoder_clicks_between_blocks(format, subtype, _tolerance):
    data = encoded(tone(440) + noise(16_000, 0.1), format=format, subtype=subtype)
    pieces = np.concatenate(list(audio.blocks(data, seconds=0.02)))
    np.testing.assert_array_equal(pieces, audio.load(data))


def test_memory_is_bounded_by_the_block_not_by_the_recording():
    largest = max(len(piece) for piece in audio.blocks(encoded(noise(480_000), 48_000), seconds=0.5))
    assert largest < 1.25 * 8_000


# What writers get wrong without harm


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF - 36, 0x80000000])
@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFFFFFF, 0x7FFFF024])
def test_a_wav_from_a_pipe_is_read_to_its_end(size, riff_size):
    sound = (tone(440) * 32767).astype("<i2")
    loaded = audio.load(wav(size, sound.tobytes(), riff_size))
    np.testing.assert_array_equal(loaded, sound / np.float32(32768))


@pytest.mark.parametrize("samples", [1000, 1001])
def test_a_wav_with_other_chunks_of_odd_size_is_read(samples):
    sound = (np.arange(samples) % 100).astype("<i2").tobytes()
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    assert len(audio.load(wav(len(sound), sound, before=odd, after=odd))) == samples
    eight_bit = encoded(noise(samples), subtype="PCM_U8")
    assert len(audio.load(eight_bit)) == samples


def test_a_size_that_is_a_few_bytes_too_large_is_no_reason_to_refuse():
    sound = bytes(2000)
    assert len(audio.load(wav(2000 + 36, sound))) == 1000


# What is refused


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.wav")
    assert "no such file" in refusal(str(tmp_path / "none" / "none.wav"))


def test_directory(tmp_path):
    assert "directory" in refusal(tmp_path)


def test_a_name_with_a_line_break_still_gives_one_line(tmp_path):
    with pytest.raises(AudioError, match="no such file") as error:
        audio.load(tmp_path / "two\nlines.wav")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(tone(440)))
    path.chmod(0)
    if os.geteuid() != 0:
        assert "permission denied" in refusal(path)
        return
    # Root may read everything, so a child gives root up, after its imports; the folders above must let it pass.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    program = (
        "import os, sys; from speechrnn import audio, errors\nos.setgid(65534); os.setuid(65534)\n"
        "try: audio.load(sys.argv[1])\nexcept errors.AudioError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: permission denied: make it readable for this user\n"


@pytest.mark.parametrize("suffix", ["wav", "mp3", "raw", "flac"])
def test_what_is_not_sound(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    path.write_text("Dear diary,\nnothing to hear here.\n" * 100)
    assert "can't be read as sound" in refusal(path)
    path.write_bytes(b"")
    assert "empty (0 bytes)" in refusal(path)


def test_bytes_file_objects_and_open_text_are_named(tmp_path):
    assert "empty" in refusal(b"")
    path = tmp_path / "notes.wav"
    path.write_text("not a sound")
    with open(path, "rb") as file:
        refusal(file)
    with open(path) as file:
        assert '"rb"' in refusal(file)
    with pytest.raises(AudioError, match=r"^<bytes>: "):
        audio.load(io.BytesIO(b"not a sound"))
    program = "import sys; from speechrnn import audio; audio.load(sys.stdin.buffer)"
    failed = subprocess.run([sys.executable, "-c", program], input=b"no", capture_output=True, text=False, check=False)
    assert b"AudioError: <stdin>: " in failed.stderr


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "W64"])
def test_a_file_without_frames(format):
    assert "no sound" in refusal(encoded(np.zeros(0, np.float32), format=format))


def test_a_wav_without_frames_but_with_tags_behind_is_not_taken_for_a_piped_one():
    assert "no sound" in refusal(wav(0, b"", after=b"LIST" + struct.pack("<I", 4) + b"INFO"))


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [(format, subtype) for format, subtype, _tolerance in FORMATS if format != "NIST"],  # its header isn't checked
)
def test_a_file_that_is_cut_off(tmp_path, format, subtype, kept):
    data = encoded(tone(440, seconds=3), format=format, subtype=subtype)
    path = tmp_path / f"clip.{format.lower()}"
    path.write_bytes(data[: int(kept * len(data))])
    message = refusal(path)
    assert "cut off" in message or "can't be read" in message


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x02\x10" + bytes(2 * 128 + 16)], ids=["plain", "id3"])
def test_an_mp3_whose_length_is_a_guess_is_whole(tag):
    sound, file = tone(440, seconds=3), io.BytesIO()
    constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(file, sound, 16_000, format="MP3", subtype="MPEG_LAYER_III", **constant)
    data = file.getvalue()
    first = data.index(data[:2], 4)  # of the frames that sound; the one before has the length
    assert b"Info" in data[:first]
    guessed = tag + data[first:] + b"TAG" + bytes(600)
    assert soundfile.SoundFile(io.BytesIO(guessed)).frames > len(sound) + 2 * 1152
    assert len(audio.load(guessed)) == pytest.approx(len(sound), abs=2 * 1152)
    assert "cut off" in refusal(tag + data[: int(0.9 * len(data))])


def test_an_ogg_that_promises_a_bit_more_is_whole():
    sound = tone(440, seconds=3)
    data = bytearray(encoded(sound, format="OGG", subtype="VORBIS"))
    last = data.rindex(b"OggS")
    end, serial, number = struct.unpack_from("<qII", data, last + 6)
    nothing = b"OggS" + struct.pack(
        "<BBqIIIBBB", 0, 4, end + 5000, serial, number + 1, 0, 1, 1, 0
    )  # a packet of a byte
    data += nothing[:22] + struct.pack("<I", ogg_checksum(nothing)) + nothing[26:]
    data[last + 5] &= ~4  # not the last page any more
    struct.pack_into("<I", data, last + 22, 0)
    struct.pack_into("<I", data, last + 22, ogg_checksum(data[last : -len(nothing)]))
    assert soundfile.SoundFile(io.BytesIO(data)).frames == len(sound) + 5000
    assert len(audio.load(bytes(data))) == pytest.approx(len(sound), abs=1024)


def test_a_cut_wav_is_found_behind_many_tags():
    tags = b"".join(b"junk" + struct.pack("<I", 4) + b"abcd" for _ in range(500))  # more than libsndfile logs
    assert "cut off" in refusal(wav(32_000, bytes(16_000), before=tags))


def test_a_damaged_flac():
    data = bytearray(encoded(noise(160_000), format="FLAC"))
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    assert "damaged" in refusal(bytes(data))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_finite_are_found_where_they_are(value, subtype, channels):
    sound = np.zeros((24_000, channels))
    sound[12_000, -1] = value
    assert "NaN or infinite at 1.500 s" in refusal(encoded(sound, 8_000, subtype=subtype))


def test_sound_that_is_too_long_is_refused_from_its_header(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(tone(440, seconds=3.0)))
    message = refusal(path, max_seconds=2)
    assert "3.0 s" in message
    assert "2 s" in message
    assert len(audio.load(path, max_seconds=3)) == 48_000
    # Were it decoded, its first sample would be met before its end.
    with pytest.raises(AudioError, match=r"3600\.0 s"):
        audio.load(encoded(np.full(3600 * 100, np.nan), 100, subtype="FLOAT"), max_seconds=60)


def test_sound_that_is_too_long_is_refused_where_the_header_does_not_say():
    data = bytearray(encoded(tone(440, seconds=3.0), format="FLAC"))
    data[21] &= 0xF0  # STREAMINFO: 36 bits of total samples; zero is "unknown", as a piped encoder writes
    data[22:26] = bytes(4)
    assert len(audio.load(bytes(data))) == 48_000
    assert "longer than 2 s" in refusal(bytes(data), max_seconds=2)


def test_an_mp3_that_libsndfile_would_stop_half_way_is_refused():
    data = encoded(noise(160_000), format="MP3", subtype="MPEG_LAYER_III")
    without_xing_header = data[data.index(data[:2], 4) :]
    try:
        assert len(audio.load(without_xing_header)) == pytest.approx(160_000, abs=3000)
    except AudioError as error:
        assert "doesn't say how long it is" in str(error)  # noqa: PT017 - either is right, silence about half isn't


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_no_damage_gets_past_as_anything_but_sound_or_one_line(data):
    good = bytearray(encoded(noise(600), format=data.draw(st.sampled_from(["WAV", "FLAC", "AIFF", "OGG", "W64"])),
                             subtype=None))  # fmt: skip
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, min(len(good) - 1, 300)))] = data.draw(st.integers(0, 255))
    broken = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        loaded = audio.load(broken, max_seconds=60)
    except AudioError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - sound is as right an answer
    else:
        assert np.isfinite(loaded).all()
