"""Sound on stdin: whatever it is, it is heard as that, while it still comes; what is no sound is one line."""

import io
import itertools
import os
import struct
import subprocess
import threading

import numpy as np
import pytest
import soxr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechrnn import audio, pcm, pipes
from speechrnn.errors import AudioError
from speechrnn.signatures import recognised
from tests.support.command_line import ROOT, command, run
from tests.support.pipes import PLAIN, RATE, encoded, raw
from tests.support.sound_server import tone, wait
from tests.support.tone_model import listening, rows, said, write_tone_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


def endless(wav, size=0xFFFF_FFFF):
    """What a writer says that can't go back to its header."""
    place = wav.index(b"data")
    return wav[:4] + struct.pack("<I", size) + wav[8 : place + 4] + struct.pack("<I", size) + wav[place + 8 :]


def alsa(samples, rate, bits, width, content):
    """A WAV as arecord writes it into a pipe: sizes of 2 GiB and a bit."""
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * width, width, bits)
    head = b"RIFF" + struct.pack("<I", 0x8000_0024) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", 0x8000_0000) + content


def from_pipe(data, cuts=(1 << 20,), **how):
    """All that `pipes.blocks` makes of bytes that come through a pipe in pieces of these lengths."""
    reader, writer = os.pipe()

    def send():
        with open(writer, "wb", buffering=0) as file:
            left, lengths = memoryview(data), itertools.cycle(cuts)
            while left:
                left = left[file.write(left[: next(lengths)]) :]

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    with open(reader, "rb") as file:
        pieces = list(pipes.blocks(file, **how))
        thread.join()
    return np.concatenate(pieces)


def words(shown):
    assert shown.returncode == 0, shown.stderr
    return [label for _, label, _ in rows(shown.stdout)]


# raw PCM


@pytest.mark.parametrize(
    ("encoding", "subtype", "rate", "channels"),
    [
        ("s16le", "PCM_16", 48_000, 2),
        ("u8", "PCM_U8", 8000, 1),
        ("f32le", "FLOAT", 44_100, 3),
        ("alaw", "ALAW", 8000, 1),
    ],
)
def test_options_say_what_headerless_sound_is(model, encoding, subtype, rate, channels):
    samples = np.tile(said("yes", "no", rate=rate)[:, None], channels)
    how = ["--rate", rate, "--pcm", encoding, "--channels", channels]
    shown = run("listen", "-", "-m", model, *how, stdin=raw(samples, rate, subtype))
    assert words(shown) == ["yes", "no"]


def test_the_channel_that_hears_is_taken_of_headerless_sound(model):
    samples = np.stack([said("yes"), said("no")], axis=1)
    data = raw(samples, RATE, "PCM_16")
    assert words(run("listen", "-", "-m", model, "--channels", "2", "--channel", "1", stdin=data)) == ["yes"]
    assert words(run("listen", "-", "-m", model, "--channels", "2", "--channel", "2", stdin=data)) == ["no"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4), st.sampled_from(["s16le", "s24le", "u8"]))
@example([1], "s24le")
def test_the_pieces_in_which_pcm_comes_make_no_difference(cuts, encoding):
    samples = np.random.default_rng(1).uniform(-1, 1, (3000, 2))
    data = raw(samples, RATE, PLAIN[encoding])
    found = from_pipe(data, cuts, encoding=encoding, channels=2)
    np.testing.assert_array_equal(found, audio.from_pcm(data, RATE, encoding, 2))


# files


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        *(("WAV", subtype) for subtype in PLAIN.values()),
        *(("WAVEX", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT")),
        *(("WAV", subtype) for subtype in ("IMA_ADPCM", "MS_ADPCM", "G721_32")),
        *((format, "PCM_16") for format in ("RF64", "W64", "AIFF", "AU", "CAF", "NIST", "VOC", "FLAC")),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_a_file_gives_what_it_gives_when_it_is_named(format, subtype, rate, channels):
    if subtype == "G721_32" and channels == 2:
        channels = 1  # more there can't be
    samples = np.tile(0.5 * said("yes", "no", rate=rate)[:, None], channels)
    data = encoded(samples, rate, format, subtype)
    np.testing.assert_allclose(from_pipe(data, (777, 4096)), audio.load(data), atol=1e-6)


def test_a_recorder_without_options_is_heard(model):
    """arecord's own choice: 8 bit, 8 kHz, mono."""
    content = raw(said("yes", "no", rate=8000), 8000, "PCM_U8")
    shown = run("listen", "-", "-m", model, stdin=alsa(None, 8000, 8, 1, content))
    assert words(shown) == ["yes", "no"]
    assert shown.stderr.count("\n") == 1  # the summary


def test_a_recorder_that_gives_24_bits_in_four_bytes_is_heard(model):
    values = np.rint(said("yes", "no") * 2**23).astype("<i4").tobytes()
    assert words(run("listen", "-", "-m", model, stdin=alsa(None, RATE, 24, 4, values))) == ["yes", "no"]


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
def test_a_header_without_an_end_is_heard_to_the_end(size, format):
    wav = encoded(said("yes"), format=format)
    np.testing.assert_array_equal(from_pipe(endless(wav, size)), audio.load(wav))


def test_rf64_from_a_pipe_whose_sizes_were_never_filled_in_is_heard():
    wav = encoded(said("yes"), format="RF64")
    place = wav.index(b"ds64") + 8
    unfilled = wav[:place] + bytes(24) + wav[place + 24 :]
    np.testing.assert_array_equal(from_pipe(unfilled), audio.load(wav))


def test_a_recorder_that_begins_anew_after_its_limit_is_heard_on(monkeypatch):
    """arecord writes another header after 2 GiB, amid the sound; here after less."""
    monkeypatch.setattr(pcm, "UNKNOWN_SIZE", 1000)
    wav = encoded(said("yes"))
    half = wav[:44] + wav[44:][: len(wav) // 4 * 2]
    whole = endless(half, len(half) - 44) + endless(wav[:44] + wav[len(half) :], 1 << 30)
    np.testing.assert_array_equal(from_pipe(whole), audio.load(wav))


def test_sound_that_goes_on_beyond_what_a_header_can_say_is_heard_on(monkeypatch):
    monkeypatch.setattr(pcm, "UNKNOWN_SIZE", 1000)
    wav = encoded(said("yes"))
    np.testing.assert_array_equal(from_pipe(endless(wav, 2000)), audio.load(wav))


def test_chunks_before_and_behind_the_samples_are_no_sound():
    wav = encoded(said("yes"))
    chunk = b"LIST" + struct.pack("<I", 70_001) + bytes(range(256)) * 273 + bytes(114)
    size = struct.pack("<I", len(wav) - 8 + 2 * len(chunk))
    around = wav[:4] + size + wav[8:12] + chunk + wav[12:] + chunk
    np.testing.assert_array_equal(from_pipe(around), audio.load(wav))


@pytest.mark.parametrize(
    "kinds",
    [
        [("WAV", "PCM_16", 16_000, 1), ("WAV", "PCM_U8", 8000, 2)],
        [("FLAC", "PCM_16", 16_000, 1), ("FLAC", "PCM_24", 48_000, 2)],
        [("OGG", "VORBIS", 16_000, 1), ("OGG", "OPUS", 48_000, 2)],
        [("MP3", "MPEG_LAYER_III", 16_000, 1), ("MP3", "MPEG_LAYER_III", 44_100, 2)],
    ],
    ids=lambda kinds: kinds[0][0],
)
def test_files_that_follow_each_other_are_heard_all(kinds):
    files = [
        encoded(np.tile(0.5 * said(word, rate=rate)[:, None], channels), rate, format, subtype)
        for word, (format, subtype, rate, channels) in zip(("yes", "no"), kinds, strict=True)
    ]
    expected = np.concatenate([audio.load(file) for file in files])
    np.testing.assert_allclose(from_pipe(b"".join(files)), expected, atol=1e-6)


ID3 = b"ID3\x03\0\0" + bytes([0, 2, 0, 0]) + b"\xff\xfb\x90" * 10_922 + b"\0\0"


@pytest.mark.parametrize(
    "format", [("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16"), ("FLAC", "PCM_16")], ids=lambda f: f[0]
)
def test_a_tag_in_front_is_no_sound(format):
    file = encoded(0.5 * said("yes"), RATE, *format)
    np.testing.assert_allclose(from_pipe(ID3 + file), audio.load(file), atol=1e-6)


def test_a_radio_station_is_heard_from_wherever_it_is_joined():
    """MP3 from amid a frame on, with a tag and padding at its end."""
    mp3 = encoded(0.5 * said("yes", "no"), RATE, "MP3", "MPEG_LAYER_III")
    found = from_pipe(mp3[700:] + b"TAG" + bytes(5000))
    whole = audio.load(mp3)
    assert len(whole) - 9000 < len(found) < len(whole) + 2000
    loud = np.abs(whole) > 0.05
    assert np.abs(found)[-len(whole) // 2 :].max() == pytest.approx(np.abs(whole)[loud].max(), abs=0.05)


@pytest.mark.parametrize("format", [("FLAC", "PCM_16"), ("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_a_file_that_is_cut_off_is_told_after_its_sound(format):
    data = encoded(0.3 * np.random.default_rng(0).uniform(-1, 1, 30_000), RATE, *format)
    pieces = []
    with pytest.raises(AudioError, match="cut off"):
        pieces.extend(pipes.blocks(io.BytesIO(data[: len(data) * 2 // 3])))
    assert 10_000 < sum(map(len, pieces)) < 21_000


# while it comes


def in_halves(model, data):
    """What is found before the second half of a file that is on the pipe comes, and after it."""
    with listening("-", "-m", model, stdin=subprocess.PIPE) as process:
        half = len(data) * 2 // 3
        process.stdin.write(data[:half])
        process.stdin.flush()
        wait(lambda: process.lines, f"nothing is reported while it comes: {process.notes}")
        assert process.poll() is None
        process.stdin.write(data[half:])
        process.stdin.close()
        assert process.wait(30) == 0
        wait(lambda: len(process.lines) == 3, process.notes)
    return [label for _, label, _ in rows("\n".join(process.lines))]


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AU", "PCM_16"),
    ],
)
def test_words_are_told_while_the_pipe_is_open(model, format, subtype):
    gap = 1e-3 * np.random.default_rng(0).uniform(-1, 1, 8 * RATE)  # some that no codec shrinks to nothing
    samples = np.concatenate([said("yes"), gap, said("no"), gap, said("yes"), gap]).astype(np.float32)
    data = encoded(samples, RATE, format, subtype)
    assert in_halves(model, endless(data) if format == "WAV" else data) == ["yes", "no", "yes"]


# what counts


def test_a_header_counts_and_the_option_that_says_otherwise_is_told_once(model):
    data = encoded(said("yes", "no", rate=8000), 8000, subtype="PCM_U8")
    shown = run("listen", "-", "-m", model, "--rate", "16000", "--pcm", "u8", stdin=data + data)
    assert words(shown) == ["yes", "no", "yes", "no"]
    assert shown.stderr.splitlines()[0] == (
        "speechrnn: <stdin>: its header counts (u8, 8000 Hz, 1 channel): --rate 16000 not used"
    )
    assert shown.stderr.count("not used") == 1


def test_an_option_that_says_the_same_as_the_header_is_no_news(model):
    data = encoded(said("yes", rate=8000), 8000)
    shown = run("listen", "-", "-m", model, "--rate", "8000", "--pcm", "s16le", "--channels", "1", stdin=data)
    assert words(shown) == ["yes"]
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("option", [["--rate", "8000"], ["--pcm", "u8"], ["--channels", "2"]])
def test_options_for_pcm_are_for_stdin(model, option):
    shown = run("listen", ROOT / "examples" / "yes.wav", "-m", model, *option)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert f"speechrnn listen - {option[0]}" in shown.stderr


def test_an_unknown_kind_of_pcm_lists_those_that_there_are(model):
    shown = run("listen", "-", "-m", model, "--pcm", "s17le", stdin=bytes(100))
    assert (shown.returncode, shown.stderr.count("\n")) == (2, 1)
    assert "s24le-in-32" in shown.stderr


# what is no sound


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"label": "yes"}', "text"),
        ("Grüße aus der Küche\n".encode() * 20, "text"),
        (b"<!DOCTYPE html><html><head><title>404 Not Found</title></head>" * 20, "text"),
        (b"\x1f\x8b\x08" + bytes(1000), "gzip"),
        (b"PK\x03\x04" + bytes(1000), "zip"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "PNG"),
        (b"%PDF-1.7\n%\xe2\xe3" + bytes(1000), "PDF"),
        ((ROOT / "speechrnn" / "models" / "gru-12.onnx").read_bytes(), "an ONNX model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("verb", [["listen"], ["spot"], ["classify"]])
def test_what_is_no_sound_is_one_line(verb, data, name):
    shown = run(*verb, "-", stdin=data)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert f"<stdin>: is {name}" in shown.stderr or f"is a {name}" in shown.stderr


@pytest.mark.parametrize(
    "data",
    [
        encoded(said("yes"))[:30],
        encoded(said("yes")).replace(b"fmt ", b"fnt "),
        encoded(said("yes"), 1000).replace(struct.pack("<I", 1000), struct.pack("<I", 1)),
        encoded(said("yes"), 1000, "AU").replace(struct.pack(">I", 1000), struct.pack(">I", 1), 1),
        b"OggS" + bytes(5000),
        b"fLaC" + bytes(5000),
        b"\0\0\0\x20ftypM4A " + bytes(5000),
        encoded(np.array([0.0, np.nan] * 200), subtype="FLOAT"),
    ],
    ids=["short", "no format", "1 Hz", "AU of 1 Hz", "Ogg", "FLAC", "MP4", "NaN"],
)
def test_a_damaged_file_is_told_and_exit_code_2(model, data):
    shown = run("listen", "-", "-m", model, stdin=data)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.splitlines()[-1].startswith("speechrnn: <stdin>: ")


@pytest.mark.parametrize("verb", ["spot", "classify"])
def test_headerless_sound_is_told_what_to_do(verb):
    clip = ROOT / "examples" / "no.wav"
    shown = run(verb, "-", clip, stdin=raw(said("yes"), RATE, "PCM_16"))
    assert shown.returncode == 1
    assert shown.stderr.count("\n") == 1
    assert "put a header in front" in shown.stderr
    assert str(clip) in shown.stdout or verb == "spot"


@pytest.mark.parametrize("verb", ["spot", "classify", "listen"])
def test_a_closed_stdin_is_one_line(verb):
    done = command(verb, "-", stdin=None, preexec_fn=lambda: os.close(0))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "nothing is piped in" in done.stderr


def test_random_pcm_is_taken_for_nothing_else():
    rng = np.random.default_rng(0)
    for seed in range(200):
        level = 10.0 ** rng.uniform(-4, 0)
        samples = level * (rng.standard_normal(4000) if seed % 2 else tone(rng.uniform(50, 4000), 0.25, RATE))
        data = np.clip(np.rint(samples * 32_767), -32_768, 32_767).astype("<i2").tobytes()
        assert recognised(data[:6144]) is None
    assert recognised(bytes(6144)) is None
    assert recognised(b"\xff" * 6144) is None
    assert recognised(raw(0.3 * tone(100, 1, 8000), 8000, "PCM_U8")[:6144], maybe_text=False) is None


def test_resampled_sound_is_that_of_the_whole():
    """The resampler keeps its memory from piece to piece, and is emptied at the end."""
    samples = said("yes", "no", rate=44_100)
    expected = soxr.resample(samples, 44_100, RATE)
    found = from_pipe(encoded(samples, 44_100, subtype="FLOAT"), (999,))
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-3)
