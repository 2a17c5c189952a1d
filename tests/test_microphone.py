"""A microphone: which one is taken, what comes out of it, and what happens when it goes away.

The device is a real one for PortAudio: the monitor of a PulseAudio sink that plays nowhere.
"""

import subprocess
import sys
import time

import numpy as np
import pytest

from speechrnn import microphone
from speechrnn.errors import MicrophoneError
from speechrnn.microphone import Device, Microphone, choose, measure
from tests.support.command_line import command
from tests.support.sound_server import Library, sound_server, tone, wait

LINE_IN = Device(0, "HDA Intel PCH: ALC892 Analog (hw:0,0)", "ALSA", 48_000, 2, False)
HEADSET = Device(3, "USB Headset: Audio (hw:1,0)", "ALSA", 44_100, 1, True)
HEADSET_TWO = Device(4, "USB Headset Two: Audio (hw:2,0)", "ALSA", 44_100, 1, False)


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    with sound_server(tmp_path_factory.mktemp("pulse")) as server:
        sounddevice = pytest.importorskip("sounddevice")
        sounddevice._terminate()  # its list is older than the server
        sounddevice._initialize()
        yield server


def hear(source, seconds):
    """So much sound of a microphone."""
    pieces, missing, end = [], seconds * 16_000, time.monotonic() + 20 + seconds
    for piece in source:
        pieces.append(piece)
        missing -= len(piece)
        if missing <= 0:
            return np.concatenate(pieces)
        assert time.monotonic() < end, "hardly anything is heard"


# which one


@pytest.mark.parametrize("wanted", [3, "3", "headset", "USB HEADSET:", None])
def test_a_device_is_chosen_by_number_by_part_of_its_name_or_by_default(wanted):
    assert choose([LINE_IN, HEADSET], wanted) == HEADSET


def test_a_whole_name_is_not_ambiguous_because_another_contains_it():
    pulse, other = Device(0, "pulse", "ALSA", 44_100, 2, False), Device(1, "pulse two", "ALSA", 44_100, 2, True)
    assert choose([other, pulse], "Pulse") == pulse


def test_without_a_default_the_first_input_is_taken():
    assert choose([LINE_IN, HEADSET_TWO], None) == LINE_IN


@pytest.mark.parametrize("wanted", ["headset", "7", 7, "piano", ""])
def test_an_unknown_or_ambiguous_device_lists_what_there_is(wanted):
    with pytest.raises(MicrophoneError) as refused:
        choose([LINE_IN, HEADSET, HEADSET_TWO], wanted)
    assert str(refused.value).count("\n") == 0
    assert all(f"{device.index} {device.name}" in str(refused.value) for device in (LINE_IN, HEADSET, HEADSET_TWO))


def test_no_microphone_at_all_says_so():
    with pytest.raises(MicrophoneError, match="no microphone found"):
        choose([], None)


def test_without_portaudio_the_package_to_install_is_named(tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from speechrnn import microphone; microphone.devices()"
    shown = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert "MicrophoneError" in shown.stderr.splitlines()[-1]
    assert "sudo apt install libportaudio2" in shown.stderr.splitlines()[-1]


# how loud


def test_level_of_a_full_scale_square_wave_is_0_dbfs_and_it_is_clipped():
    level = measure(np.tile([1.0, -1.0], 100).astype(np.float32))
    assert (level.rms, level.peak, level.clipped, level.offset) == (0.0, 0.0, 1.0, 0.0)
    assert "clipped" in level.complaint


def test_level_of_a_sine_is_3_db_below_its_peak():
    level = measure(tone(1000, 1, amplitude=0.1))
    assert level.peak == pytest.approx(-20, abs=0.01)
    assert level.rms == pytest.approx(-23.01, abs=0.01)
    assert level.complaint == ""


def test_exact_zeros_and_a_whisper_are_not_the_same():
    assert "muted" in measure(np.zeros(100)).complaint
    assert "too quiet" in measure(np.full(100, 1e-4)).complaint
    assert measure(np.zeros(100)).rms == -120.0


# a device that isn't there


@pytest.fixture
def library(monkeypatch):
    made = Library()
    monkeypatch.setattr(microphone, "_library", lambda: made)
    return made


def test_a_device_that_opens_only_with_all_its_channels_gives_their_mean(library):
    with Microphone() as source:
        library.block([0.0, 0.2, 0.4, 0.6])
        piece = next(iter(source))
    assert piece.dtype == np.float32
    np.testing.assert_allclose(piece, 0.3, rtol=1e-6)


def test_blocks_that_nobody_takes_are_dropped_and_counted(library):
    room = round(microphone.QUEUE_SECONDS / microphone.BLOCK_SECONDS)
    with Microphone() as source:
        for _ in range(room + 7):
            library.block([0.1] * 4)
        assert source.dropped == 7
        kept = len(next(iter(source)))
    assert kept == room * round(microphone.BLOCK_SECONDS * 16_000)


# a real device


def test_devices_lists_the_real_device_with_its_rate(sink):
    found = {device.name: device for device in microphone.devices()}
    assert found["pulse"].rate >= 8000
    assert sum(device.default for device in found.values()) == 1


def test_what_is_played_is_heard_at_16_khz(sink, tmp_path):
    with Microphone("pulse") as source:
        player = sink.play(tone(1000, 3), tmp_path)
        heard = hear(source, 3.0)
        player.wait(10)
    loud = heard[np.abs(heard) > 0.01]
    assert len(loud) > 16_000
    middle = heard[np.flatnonzero(np.abs(heard) > 0.1)[0] + 4000 :][:8000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(8000)))
    assert abs(spectrum.argmax() * 2 - 1000) <= 2  # Hz: the rate is right
    assert np.abs(middle).max() == pytest.approx(0.3, abs=0.02)
    assert source.dropped == 0


def test_a_sink_that_plays_nothing_is_heard_as_exact_zeros(sink):
    with Microphone("pulse") as source:
        heard = hear(source, 0.5)
    assert not heard.any()


def test_a_device_that_is_gone_is_noticed_and_comes_back(sink, tmp_path):
    with Microphone("pulse") as source:
        pieces = iter(source)
        wait(lambda: len(next(pieces)), "nothing is heard")
        sink.unplug()
        wait(lambda: next(pieces) is not None and source.lost, "the loss isn't noticed")
        assert source.losses == 1
        sink.plug()
        wait(lambda: len(next(pieces)) and not source.lost, "it doesn't come back")
        player = sink.play(tone(500, 2), tmp_path)
        heard = hear(pieces, 2.0)
        player.wait(10)
    assert np.abs(heard).max() > 0.2


def test_the_verb_lists_what_there_is(sink):
    shown = command("devices", env=sink.environment)
    assert shown.returncode == 0
    assert "pulse" in shown.stdout
    as_json = command("devices", "--json", env=sink.environment)
    assert '"name": "pulse"' in as_json.stdout
