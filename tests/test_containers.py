"""Sound that is all there is read whole, whatever stands around it; what is cut off or damaged is refused."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from speechrnn import audio, containers, media, mpeg
from speechrnn.errors import AudioError
from tests.support.environment import SHARED
from tests.support.formats import encoded, level_at, noise, refusal, tone, wav

CASES = SHARED.parent / "cases"
ID3 = b"ID3\x03\0\0\0\0\x02\x2c" + bytes(300)
ID3_WITH_FOOTER = b"ID3\x04\0\x10\0\0\x02\x2c" + bytes(300) + b"3DI\x04\0\x10\0\0\x02\x2c"
ID3V1 = b"TAG" + b"a title".ljust(125, b"\0")


def mp3(samples, rate=16_000):
    return encoded(samples, rate, "MP3", "MPEG_LAYER_III")


def frames_of(data):
    """An MP3 without its first frame, which says how many follow."""
    return data[mpeg.frame(data).length :]


def ape(header, items=b"\x05\0\0\0\0\0\0\0genre\0noise"):
    """An APEv2 tag, with a header or without."""
    fields = struct.pack("<III", 2000, len(items) + 32, 1)
    tag = items + b"APETAGEX" + fields + struct.pack("<I", 0x8000_0000 if header else 0) + bytes(8)
    return (b"APETAGEX" + fields + struct.pack("<I", 0xA000_0000) + bytes(8) if header else b"") + tag


def second(sound, number):
    return sound[number * 16_000 : (number + 1) * 16_000]


# Several sounds in one file

JOINED = [
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16"),
    ("WAV", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "subtype"), JOINED)
def test_sounds_that_are_joined_are_all_read_at_their_times(format, subtype):
    parts = [encoded(tone(frequency), format=format, subtype=subtype) for frequency in (440, 1000, 2000)]
    loaded = audio.load(b"".join(parts))
    assert len(loaded) == 48_000
    for number, frequency in enumerate((440, 1000, 2000)):
        assert level_at(second(loaded, number), frequency) == pytest.approx(0.5, rel=0.05)
        np.testing.assert_array_equal(second(loaded, number), audio.load(parts[number]))
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(b"".join(parts), seconds=0.3))), loaded)
    assert audio.seconds_of(b"".join(parts)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("format", "subtype"), [("OGG", "VORBIS"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16")]
)
def test_sounds_that_are_joined_may_differ_in_rate_and_channels(format, subtype):
    first = encoded(tone(440, 32_000), 32_000, format, subtype)
    other = encoded(np.stack([tone(1000, 44_100), tone(1000, 44_100)], axis=1), 44_100, format, subtype)
    loaded = audio.load(first + other)
    assert len(loaded) == pytest.approx(32_000, abs=2)
    assert level_at(loaded[:16_000], 440) == pytest.approx(0.5, rel=0.05)
    assert level_at(loaded[-16_000:], 1000) == pytest.approx(0.5, rel=0.05)
    pieces = [piece for piece in audio.native_blocks(first + other) if len(piece.samples)]
    assert [(piece.rate, piece.samples.shape[1]) for piece in pieces] == [(32_000, 1), (44_100, 2)]
    assert pieces[1].start == pytest.approx(1.0)


def test_a_flac_from_a_pipe_in_front_of_another():
    first = bytearray(encoded(tone(440), format="FLAC"))
    first[21] &= 0xF0  # STREAMINFO: 36 bits of total samples; zero is "unknown"
    first[22:26] = bytes(4)
    assert len(audio.load(bytes(first) + encoded(tone(1000), format="FLAC"))) == 32_000


@pytest.mark.parametrize("between", [b"", ID3, ID3V1, bytes(5000), ape(True)], ids=["", "id3", "id3v1", "zeros", "ape"])
def test_an_mp3_behind_another_and_its_tags(between):
    if between == ID3V1:
        between = b""  # it is known at the end of a file alone
    assert len(audio.load(mp3(tone(440)) + between + mp3(tone(1000)))) == 32_000


def test_the_limit_of_length_is_for_all_sounds_of_a_file():
    data = encoded(tone(440), format="FLAC") + encoded(tone(440), format="FLAC")
    assert "2.0 s long" in refusal(data, max_seconds=1.5)
    assert len(audio.load(data, max_seconds=2)) == 32_000


def test_a_second_sound_that_is_cut_off_is_found_before_the_first_is_heard():
    data = encoded(tone(440), format="OGG", subtype="VORBIS")
    with pytest.raises(AudioError, match="cut off"):
        next(audio.blocks(data + data[:-500]))


# Tags and padding


@pytest.mark.parametrize("tag", [ID3, ID3_WITH_FOOTER, ID3 + bytes(700), ID3 + ID3], ids=["", "footer", "zeros", "two"])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III")],
)
def test_id3_in_front(format, subtype, tag):
    data = encoded(tone(440), format=format, subtype=subtype)
    np.testing.assert_array_equal(audio.load(tag + data), audio.load(data))
    assert "cut off" in refusal(tag + data[: len(data) * 3 // 4])


BEHIND = {
    "id3v1": ID3V1,
    "ape": ape(header=True),
    "ape without header": ape(header=False),
    "large ape": ape(header=True, items=bytes(range(1, 256)) * 200),
    "ape and id3v1": ape(header=True) + ID3V1,
    "zeros": bytes(20_000),
    "zeros and id3v1": bytes(3000) + ID3V1,
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
def test_what_stands_behind_an_mp3_is_no_sound_and_no_damage(behind, counted):
    data = mp3(tone(440, seconds=2)) if counted else frames_of(mp3(tone(440, seconds=2)))
    np.testing.assert_array_equal(audio.load(data + BEHIND[behind]), audio.load(data))


@pytest.mark.parametrize("format", ["FLAC", "OGG", "WAV"])
def test_zeros_behind_other_formats(format):
    data = encoded(tone(440), format=format, subtype=None)
    assert len(audio.load(data + bytes(5000))) == 16_000


# MP3


def test_an_mp3_of_variable_bit_rate_that_counts_nothing_is_read_to_its_end():
    sound = np.concatenate([np.zeros(16_000, np.float32), noise(48_000), tone(1000, seconds=2)])
    loaded = audio.load(frames_of(mp3(sound)))
    assert len(loaded) == pytest.approx(len(sound), abs=2 * 1152)
    assert level_at(loaded[66_000:94_000], 1000) == pytest.approx(0.5, rel=0.05)


def test_an_mp3_with_more_frames_than_it_counts_is_read_to_its_end():
    data = bytearray(mp3(tone(440, seconds=2)))
    at = data.index(b"Xing") + 8
    count = struct.unpack_from(">I", data, at)[0]
    struct.pack_into(">I", data, at, count // 2)
    assert len(audio.load(bytes(data))) == pytest.approx(32_000, abs=2 * 1152)
    struct.pack_into(">I", data, at, count + 1)  # the frame of the tag itself
    assert len(audio.load(bytes(data))) == pytest.approx(32_000, abs=2 * 1152)
    struct.pack_into(">I", data, at, count + 10)
    assert f"{count} of {count + 10} frames" in refusal(bytes(data))


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "not counted"])
def test_an_mp3_that_is_damaged_in_the_middle(counted):
    data = bytearray(mp3(tone(440, seconds=2)))
    if not counted:
        data = bytearray(frames_of(bytes(data)))
    middle = len(data) // 2
    data[middle : middle + 1000] = b"\x55" * 1000
    message = refusal(bytes(data))
    assert "damaged" in message or "cut off" in message


def test_mp3_in_wav():
    frames = frames_of(mp3(tone(440, seconds=2)))
    chunk = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16_000, 4000, 1, 0, 12, 1, 2, 576, 1, 1393)
    tags = b"LIST" + struct.pack("<I", 12) + b"INFOISFT" + bytes(4)
    body = (
        b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", len(frames)) + frames + tags
    )
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    np.testing.assert_array_equal(audio.load(data), audio.load(frames))
    assert "cut off" in refusal(data[: len(data) // 2])


def test_text_that_begins_as_a_frame_does_is_no_mp3():
    assert "can't be read" in refusal("\ufeffan old text file".encode("utf-16-le") * 50)


# Sizes


def at_size(data, format):
    """Where the size of the sound stands in a file of this format, and how it is written."""
    label, code = {
        "WAV": (b"data", "<I"), "RF64": (b"ds64", "<Q"), "W64": (b"data\xf3\xac", "<Q"), "AIFF": (b"SSND", ">I"),
        "CAF": (b"data", ">Q"), "AU": (b".snd", ">I"),
    }[format]  # fmt: skip
    behind = {"RF64": 16, "W64": 16, "AU": 8}.get(format, 4)
    return data.index(label) + behind, code


UNKNOWN = [
    ("WAV", 0), ("WAV", 0xFFFF_FFFF), ("WAV", 0x7FFF_FFFF), ("RF64", 0), ("RF64", 2**64 - 1), ("W64", 0), ("W64", 24),
    ("W64", 2**63 - 1), ("W64", 2**64 - 1), ("AIFF", 0), ("AIFF", 8), ("AIFF", 0xFFFF_FFFF), ("AIFF", 0x7F00_0008),
    ("CAF", 0), ("CAF", 2**64 - 1), ("AU", 0), ("AU", 0xFFFF_FFFF),
]  # fmt: skip


@pytest.mark.parametrize(("format", "size"), UNKNOWN)
def test_sound_of_unknown_size_is_read_to_its_end(format, size):
    sound = (tone(440) * 32767).astype(np.int16)
    data = bytearray(encoded(sound, format=format))
    where, code = at_size(data, format)
    struct.pack_into(code, data, where, size)
    for header in (4, 16, 20):  # the size of the file isn't known either
        if format in ("WAV", "AIFF") and header == 4:
            data[4:8] = bytes(4)
        elif format == "W64" and header == 16:
            data[16:24] = bytes(8)
        elif format == "RF64" and header == 20:
            data[20:28] = bytes(8)
    loaded = audio.load(bytes(data))
    np.testing.assert_array_equal(loaded[: len(sound)], sound / np.float32(32768))
    assert len(loaded) <= len(sound) + 2


def test_a_size_that_ran_over_32_bits(tmp_path):
    """A recorder that goes on beyond 4 GiB begins to count anew; the file here is sparse."""
    path = tmp_path / "long.wav"
    present = 2**32 + 8000
    with path.open("wb") as file:
        file.write(wav(8000, b""))
        file.truncate(44 + present)
    with path.open("rb") as file:
        (sound,) = containers.sounds(file, "long.wav")
        assert sound.size == 44 + present
        assert soundfile.SoundFile(sound).frames * 2 > 2**32 - 100


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "CAF", "AU"])
def test_a_size_beyond_the_end_is_found_behind_many_tags(format):
    data = encoded(tone(440), format=format)
    assert "cut off" in refusal(data[: len(data) * 9 // 10])


# Headers that would cost too much


@pytest.mark.parametrize("rate", [1, 100, 999, 2_000_000_000])
def test_a_rate_that_no_sound_has_is_refused(rate):
    data = bytearray(encoded(noise(50_000)))
    struct.pack_into("<I", data, 24, rate)
    assert f"rate of {rate} Hz" in refusal(bytes(data))


@pytest.mark.parametrize("rate", [1000, 768_000])
def test_strange_rates_that_exist_are_read(rate):
    assert len(audio.load(encoded(noise(10_000), rate))) == pytest.approx(10_000 * 16_000 / rate, abs=2)


def test_many_channels_are_read_in_smaller_pieces():
    sound = np.zeros((70_000, 256), np.int16)
    sound[-1] = 16_384
    data = encoded(sound, 48_000, subtype="PCM_16")
    pieces = [piece.samples.size for piece in audio.native_blocks(data)]
    assert max(pieces) <= audio.BLOCK_VALUES
    assert sum(pieces) == sound.size


def test_memory_is_bounded_by_what_the_file_holds():
    data = bytearray(encoded(noise(50_000)))
    struct.pack_into("<I", data, 24, 1000)
    tracemalloc.start()
    audio.load(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000 * 16 * 4 * 5


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_samples_that_overflow_when_they_are_resampled_name_the_file(tmp_path, rate):
    path = tmp_path / "loud.wav"
    sound = 3e38 * np.sign(np.sin(np.arange(rate)))
    path.write_bytes(encoded(sound.astype(np.float32), rate, subtype="FLOAT"))
    assert "overflow" in refusal(path)


# Damage


def test_an_ogg_with_a_damaged_page_is_refused_not_shortened():
    data = bytearray(encoded(noise(80_000), format="OGG", subtype="VORBIS"))
    data[len(data) // 2] ^= 0xFF
    assert len(soundfile.read(io.BytesIO(data))[0]) < 80_000
    assert "damaged" in refusal(bytes(data))


def test_an_ogg_with_something_else_in_between_is_refused():
    data = encoded(noise(80_000), format="OGG", subtype="VORBIS")
    page = data.index(b"OggS", len(data) // 2)
    assert "damaged" in refusal(data[:page] + b"\x55" * 300 + data[page:])


def sds(damage):
    data = bytearray(encoded(noise(2000), format="SDS", subtype="PCM_16"))
    assert len(data) > 21 + 127 * 3
    if damage:
        data[21 + 127 + 1] = 0x51
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (sds(damage=True), "is damaged at byte 148"),
        (sds(damage=False)[:-30], "cut off"),
        (encoded(tone(440), format="AIFF")[:22], "can't be read"),
    ],
    ids=["sds", "sds cut off", "aiff"],
)
def test_libsndfile_writes_nothing_on_stdout_nor_tracebacks_on_stderr(tmp_path, data, said):
    path = tmp_path / "broken"
    path.write_bytes(data)
    program = "import sys; from speechrnn import audio, errors\ntry: audio.load(sys.argv[1])\n"
    program += "except errors.AudioError as error: print(error, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr.startswith(f"{path}: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_whole_sds_is_read():
    assert len(audio.load(sds(damage=False))) == 2000


class Failing(io.BytesIO):
    """A file on a stick that is pulled out: what lies between two places can't be read any more."""

    name = "clip.wav"

    def read(self, size=-1):
        if 40_000 < self.tell() < 100_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize(
    ("format", "said"),
    [("WAV", r"can't be read after .* s \("), ("OGG", r"can't be read \("), ("FLAC", "can't be read")],
)
def test_a_disk_that_fails_is_named_and_not_taken_for_the_end(capsys, format, said):
    file = Failing(encoded(noise(160_000), format=format, subtype=None))
    with pytest.raises(AudioError, match=r"^clip\.wav: " + said):
        audio.load(file)
    assert capsys.readouterr().err == ""


def test_a_splice_reads_as_one_file():
    file = io.BytesIO(bytes(range(100)))
    splice = containers.Splice(file, [(10, 20), b"abc", (3, 3), (50, 60)])
    whole = bytes(range(10, 20)) + b"abc" + bytes(range(50, 60))
    assert splice.size == len(whole)
    assert splice.read() == whole
    for place in range(len(whole) + 1):
        splice.seek(place)
        assert splice.read(7) == whole[place : place + 7]
    assert splice.seek(-3, os.SEEK_END) == len(whole) - 3
    assert splice.read() == whole[-3:]
    assert splice.seek(-1000, os.SEEK_CUR) == 0


# The inputs that went wrong

READ_WHOLE = {  # seconds
    "chained.ogg": 2.0,
    "id3_before_riff.wav": 1.0,
    "mp3_in_wav.wav": 1.05,
    "rf64_size_zero.wav": 1.0,
    "opposite_phase_stereo.wav": 1.0,
    "x.oga": 1.0,
    "x.aifc": 1.0,
    "ape_tag.mp3": 1.0,
    "padded_with_zeros.mp3": 1.03,
    "x.m4a": 1.02,
    "x.webm": 1.0,
}
REFUSED = {
    "appledouble_._yes.wav": "can't be read as sound",
    "nan_after_resample_8k_float.wav": "overflow",
    "header_rate_1_hz.wav": "rate of 1 Hz",
    "sds_bad.sds": "damaged at byte 21",
    "truncated.aiff": "can't be read as sound",
}


@pytest.fixture(scope="module")
def cases():
    if not CASES.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{CASES} is missing: CI skips nothing")
        pytest.skip("needs the files in ../shared/cases, which a clone doesn't have")
    return CASES


@pytest.mark.parametrize("name", [*READ_WHOLE, *REFUSED])
def test_each_of_the_cases(cases, name):
    path = cases / name
    if name in REFUSED:
        assert REFUSED[name] in refusal(path)
    elif path.suffix in media.SUFFIXES and not media.available():
        assert media.HOW_TO_READ in refusal(path)
    else:
        assert len(audio.load(path)) / 16_000 == pytest.approx(READ_WHOLE[name], abs=0.01)


def test_every_sound_among_the_cases_is_tested(cases):
    sounds = {path.name for path in cases.iterdir() if path.suffix not in (".md", ".onnx")}
    assert sounds == {*READ_WHOLE, *REFUSED}


def test_both_words_of_the_chained_ogg_are_heard_at_their_times(cases):
    import speechrnn

    spotter = speechrnn.Spotter(speechrnn.load())
    found = [d for block in audio.blocks(cases / "chained.ogg") for d in spotter.process(block)] + spotter.finish()
    assert [detection.label for detection in found] == ["yes", "stop"]
    assert found[0].time < 1.2 < found[1].time
