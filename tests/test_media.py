"""What libsndfile can't read goes through PyAV or ffmpeg; without either, a line says what to install."""

import http.server
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from speechrnn import audio
from speechrnn.errors import AudioError
from tests.support.environment import needs
from tests.support.formats import encoded, level_at, refusal, tone

try:
    import av
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("needs PyAV to make the files", allow_module_level=True)

# (ending, FFmpeg's name of the container, codec, rate, options): what phones, browsers, cameras and recorders leave
KINDS = [
    ("m4a", "ipod", "aac", 44_100, {}),
    ("m4a", "ipod", "aac", 16_000, {"movflags": "+faststart"}),
    ("mp4", "mp4", "aac", 48_000, {"movflags": "frag_keyframe+empty_moov"}),
    ("mov", "mov", "pcm_s16le", 48_000, {}),
    ("webm", "webm", "libopus", 48_000, {}),
    ("mka", "matroska", "pcm_s16le", 22_050, {}),
    ("aac", "adts", "aac", 32_000, {}),
    ("avi", "avi", "mp2", 44_100, {}),
    ("flv", "flv", "aac", 44_100, {}),
    ("mts", "mpegts", "aac", 48_000, {}),
    ("mpg", "mpeg", "mp2", 44_100, {}),
    ("wv", "wv", "wavpack", 16_000, {}),
]
NAMES = [f"{kind[0]}-{number}" for number, kind in enumerate(KINDS)]
# These say in their headers how long they are; the others are cut in the middle of a frame, as a download is.
TELLING = [kind for kind in KINDS if kind[0] in ("m4a", "mp4", "mov", "webm", "mka", "avi")]


def made(container, codec, rate, options, sound=None, channels=1):
    """A media file with a tone, or the sound that is given [samples], on every channel."""
    sound = tone(440, rate, seconds=2) if sound is None else sound
    layout = "mono" if channels == 1 else "stereo"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made"
        _write(str(path), container, codec, rate, options, sound, channels, layout)
        return path.read_bytes()


def _write(path, container, codec, rate, options, sound, channels, layout):
    with av.open(path, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.stack([sound] * channels), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler, fifo = av.AudioResampler(stream.codec_context.format, layout, rate), av.AudioFifo()
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            converted.pts = None
            fifo.write(converted)
        position = 0
        while (piece := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            piece.pts = position
            position += piece.samples
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))


@pytest.fixture(params=["PyAV", "ffmpeg"])
def way(request, monkeypatch):
    """Each of the two ways in turn."""
    if request.param == "ffmpeg":
        needs("ffmpeg")
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        monkeypatch.setattr(shutil, "which", lambda program: None)
    return request.param


@pytest.fixture
def neither(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda program: None)


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_a_tone_comes_through(tmp_path, way, kind):
    data = made(*kind[1:])
    path = tmp_path / f"clip.{kind[0]}"
    path.write_bytes(data)
    loaded = audio.load(path)
    assert len(loaded) == pytest.approx(32_000, abs=2_600)  # codecs begin and end with frames that are partly empty
    assert level_at(loaded, 440) == pytest.approx(0.5, rel=0.05)
    np.testing.assert_array_equal(audio.load(data), loaded)
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(data, seconds=0.1))), loaded)


def test_both_ways_give_the_same(monkeypatch):
    needs("ffmpeg")
    data = made("mov", "pcm_s16le", 48_000, {})
    through_av = audio.load(data)
    monkeypatch.setitem(sys.modules, "av", None)
    np.testing.assert_array_equal(audio.load(data), through_av)


def test_channels_are_averaged_and_the_native_rate_is_kept(way):
    data = made("mov", "pcm_s16le", 44_100, {}, channels=2)
    assert {(piece.rate, piece.samples.shape[1]) for piece in audio.native_blocks(data)} == {(44_100, 2)}
    assert level_at(audio.load(data), 440) == pytest.approx(0.5, rel=0.01)


def test_memory_is_bounded_by_the_block(way):
    data = made("matroska", "pcm_s16le", 48_000, {}, tone(440, 48_000, seconds=20))
    pieces = list(audio.native_blocks(data, seconds=0.5))
    assert max(len(piece.samples) for piece in pieces) == 24_000
    assert sum(len(piece.samples) for piece in pieces) == 20 * 48_000


def test_the_limit_of_length_holds(way):
    assert "longer than 1 s" in refusal(made("mov", "pcm_s16le", 16_000, {}), max_seconds=1)


def test_reading_can_stop_in_the_middle(way):
    blocks = audio.blocks(made("matroska", "pcm_s16le", 48_000, {}, tone(440, 48_000, seconds=20)), seconds=0.1)
    assert len(next(blocks)) > 1000
    blocks.close()


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", TELLING, ids=[f"{kind[0]}-{kind[2]}" for kind in TELLING])
def test_a_file_that_is_cut_off(way, kind, kept):
    data = made(*kind[1:])
    assert "cut off" in refusal(data[: int(kept * len(data))])


@pytest.mark.parametrize("kind", [("adts", "aac", 32_000, {}), ("matroska", "pcm_s16le", 16_000, {"live": "1"})])
def test_a_stream_that_is_cut_off_in_a_frame(way, kind):
    data = made(*kind)
    message = refusal(data[: len(data) // 2 - 3])
    assert "cut off" in message
    assert "/tmp" not in message
    assert " @ 0x" not in message


def test_a_media_file_without_a_sound_track(way):
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("rawvideo", rate=5)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        output.mux(stream.encode(None))
    assert "no sound track" in refusal(file.getvalue())


@pytest.mark.parametrize("head", [b"\0\0\0\x1cftypM4A ", b"\x1a\x45\xdf\xa3", b"#!AMR\n", b"FLV\x01", b"wvpk"])
def test_damage_is_one_line(way, head):
    rng = np.random.default_rng(0)
    for size in (0, 10, 3000):
        with pytest.raises(AudioError) as error:
            audio.load(head + rng.bytes(size))
        assert len(str(error.value).splitlines()) == 1


def test_without_pyav_and_ffmpeg_a_line_says_what_to_install(tmp_path, neither):
    path = tmp_path / "voice.m4a"
    path.write_bytes(made_before["m4a"])
    assert refusal(path) == (
        f'{path}: is MP4, which needs PyAV or ffmpeg: install ffmpeg, or speechrnn with its extra "media"'
    )
    assert len(audio.load(encoded(tone(440)))) == 16_000


made_before = {"m4a": made("ipod", "aac", 16_000, {})}  # while PyAV is there


def test_pyav_is_not_imported_for_what_libsndfile_reads(monkeypatch):
    monkeypatch.delitem(sys.modules, "av")
    for format in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF"):
        audio.load(encoded(tone(440), format=format, subtype=None))
    assert "av" not in sys.modules


@pytest.mark.parametrize("name", ["list.m3u8", "list.m4a", "-i.m4a", "http:x.m4a", "concat:a|b.m4a"])
def test_a_playlist_is_not_followed(tmp_path, monkeypatch, way, name):
    """Neither to the network nor to other files."""
    monkeypatch.chdir(tmp_path)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    (tmp_path / "secret.wav").write_bytes(encoded(tone(440)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/sound.ts"
        for target in (address, "secret.wav", f"file:{tmp_path}/secret.wav"):
            for text in (
                f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
                f"ffconcat version 1.0\nfile '{target}'\n",
            ):
                (tmp_path / name).write_text(text)
                with pytest.raises(AudioError, match="can't be read as sound"):
                    audio.load(name)
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize("name", ["-i.m4a", "http:x.m4a", "a b'c.m4a", "concat:a|b.m4a"])
def test_a_name_is_never_an_option_or_an_address(tmp_path, monkeypatch, way, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(made_before["m4a"])
    assert len(audio.load(name)) == pytest.approx(32_000, abs=2_600)
