"""Microphones that share a name: which one is taken, and which one comes back after a loss."""

import re
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from speechrnn import microphone
from speechrnn.errors import MicrophoneError, SoundWarning
from speechrnn.microphone import Device, Identity, Microphone, choose
from tests.support.sound_server import sound_server, wait
from tests.support.tone_model import listening, rows, said, write_tone_model

TWIN = Device(3, "Microphone (USB Audio)", "MME", 44_100, 1, False)
OTHER = Device(0, "Line In (Realtek)", "MME", 44_100, 2, True)
WINDOWS = [  # each name appears once for each host API
    OTHER,
    TWIN,
    Device(5, "Line In (Realtek)", "Windows DirectSound", 44_100, 2, False),
    replace(TWIN, index=6, host_api="Windows DirectSound"),
    replace(TWIN, index=9, host_api="Windows WASAPI", rate=48_000),
]
CARDS = [
    Device(1, "USB PnP: Audio (hw:1,0)", "ALSA", 44_100, 1, False),
    Device(2, "USB PnP: Audio (hw:2,0)", "ALSA", 44_100, 1, False),
    Device(4, "default", "ALSA", 44_100, 32, True),
]


# chosen by name


@pytest.mark.parametrize("wanted", ["usb", "Microphone (USB Audio)"])
def test_of_several_host_apis_the_default_input_s_is_taken(wanted):
    assert choose(WINDOWS, wanted) == TWIN


def test_a_name_that_the_default_host_api_lacks_is_taken_where_it_is():
    jack = Device(12, "Bass (Focusrite)", "ASIO", 48_000, 2, False)
    assert choose([*WINDOWS, jack], "bass") == jack


@pytest.mark.parametrize("wanted", ["usb", "Microphone (USB Audio)"])
def test_equals_of_one_host_api_are_listed_with_it(wanted):
    with pytest.raises(MicrophoneError) as refused:
        choose([*WINDOWS, replace(TWIN, index=4)], wanted)
    assert str(refused.value).count("\n") == 0
    for device in WINDOWS:
        assert f"{device.index} {device.name} ({device.host_api})" in str(refused.value)


def test_one_host_api_needs_no_mention():
    with pytest.raises(MicrophoneError) as refused:
        choose(CARDS, "usb")
    assert "(ALSA)" not in str(refused.value)


# found again


@pytest.mark.parametrize("device", WINDOWS, ids=lambda device: str(device.index))
def test_the_host_api_tells_equals_apart_whatever_their_numbers(device):
    identity = Identity.of(device, WINDOWS)
    moved = [replace(other, index=other.index + 7) for other in reversed(WINDOWS)]
    found, doubtful = identity.find(moved, all_are_there=True)
    assert (found.name, found.host_api, found.index) == (device.name, device.host_api, device.index + 7)
    assert not doubtful


@pytest.mark.parametrize("place", [0, 1])
def test_equals_of_one_host_api_are_told_apart_by_their_order(place):
    twins = [TWIN, replace(TWIN, index=4)]
    identity = Identity.of(twins[place], [OTHER, *twins])
    back = [replace(twin, index=twin.index + 2) for twin in twins]
    assert identity.find([OTHER, *back], all_are_there=True) == (back[place], True)


def test_while_an_equal_is_missing_it_is_waited_for_and_not_for_ever():
    twins = [TWIN, replace(TWIN, index=4)]
    identity = Identity.of(twins[1], twins)
    with pytest.raises(MicrophoneError):
        identity.find([OTHER, TWIN], all_are_there=True)
    assert identity.find([OTHER, TWIN], all_are_there=False) == (TWIN, True)
    with pytest.raises(MicrophoneError):
        identity.find([OTHER], all_are_there=False)


def test_a_card_keeps_its_name_or_comes_back_under_another_number():
    identity = Identity.of(CARDS[1], CARDS)
    assert identity.find([CARDS[1], CARDS[2]], all_are_there=True) == (CARDS[1], False)  # its equal is gone, it isn't
    renamed = replace(CARDS[1], name="USB PnP: Audio (hw:3,0)")
    assert identity.find([CARDS[0], renamed], all_are_there=True) == (renamed, True)
    with pytest.raises(MicrophoneError):
        identity.find([CARDS[0]], all_are_there=True)  # the other one
    alone = Identity.of(CARDS[1], CARDS[1:])
    assert alone.find([renamed, CARDS[2]], all_are_there=True) == (renamed, False)


# lost and back


class Machine:
    """What of sounddevice is used, on a machine whose devices can be plugged in and out."""

    PortAudioError = OSError
    default = SimpleNamespace(device=(-1, -1))

    def __init__(self, devices):
        self.there, self.opened = devices, []

    def plug(self, devices):
        self.there = devices
        self.stream.active = False

    def query_devices(self):
        return [
            {
                "name": device.name,
                "index": device.index,
                "hostapi": self.query_hostapis().index({"name": device.host_api}),
                "max_input_channels": device.channels,
                "default_samplerate": device.rate,
            }
            for device in self.there
        ]

    def query_hostapis(self):
        return [{"name": name} for name in ("MME", "Windows DirectSound", "Windows WASAPI", "ALSA", "ASIO")]

    def InputStream(self, *, device, channels, callback, blocksize, **how):
        self.opened.append(device)
        self.block = lambda: callback(
            np.zeros((blocksize, channels), np.float32), blocksize, None, SimpleNamespace(input_overflow=False)
        )
        nothing = lambda **_: None  # noqa: E731
        self.stream = SimpleNamespace(active=True, start=nothing, abort=nothing, close=nothing)
        return self.stream

    def _terminate(self):
        pass

    def _initialize(self):
        pass


@pytest.fixture
def machine(monkeypatch):
    def switch_on(devices):
        made = Machine(devices)
        monkeypatch.setattr(microphone, "_library", lambda: made)
        monkeypatch.setattr(microphone, "WAIT_SECONDS", 0.01)
        return made

    return switch_on


def until_back(machine, pieces, source):
    for _ in range(1000):
        if source.lost and machine.stream.active:
            machine.block()
        next(pieces)
        if source.losses and not source.lost:
            return
    pytest.fail("it doesn't come back")


@pytest.mark.parametrize("wanted", [6, "6"])
def test_a_number_whose_name_is_not_unique_comes_back(machine, wanted, recwarn):
    library = machine(WINDOWS)
    with Microphone(wanted) as source:
        pieces = iter(source)
        library.plug([replace(device, index=device.index + 1) for device in WINDOWS])
        until_back(library, pieces, source)
        assert library.opened == [6, 7]
        assert source.device.host_api == "Windows DirectSound"
    assert not [warning for warning in recwarn if warning.category is SoundWarning]


def test_a_name_that_became_ambiguous_comes_back(machine):
    library = machine(CARDS[1:])
    with Microphone("usb") as source:
        pieces = iter(source)
        library.plug(CARDS)
        until_back(library, pieces, source)
        assert library.opened == [2, 2]


def test_one_of_two_equals_comes_back_and_the_doubt_is_told_once(machine, recwarn):
    twins = [TWIN, replace(TWIN, index=4)]
    library = machine([OTHER, *twins])
    with Microphone(4) as source:
        pieces = iter(source)
        for _ in range(2):
            library.plug([OTHER, *twins])
            source.losses = 0
            until_back(library, pieces, source)
        assert library.opened == [4, 4, 4]
    messages = [str(warning.message) for warning in recwarn if warning.category is SoundWarning]
    assert len(messages) == 1
    assert "number 4 (MME)" in messages[0]
    assert TWIN.name in messages[0]


def test_the_equal_that_is_left_is_taken_after_a_while(machine, monkeypatch):
    library = machine([TWIN, replace(TWIN, index=4)])
    with Microphone(4) as source:
        pieces = iter(source)
        library.plug([TWIN])
        for _ in range(20):
            next(pieces)
        assert library.opened == [4]
        monkeypatch.setattr(microphone, "EQUALS_SECONDS", 0.0)
        with pytest.warns(SoundWarning, match="number 3"):
            until_back(library, pieces, source)
        assert library.opened == [4, 3]


# two real ones


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A sound server with two microphones, whose names are the same in one line."""
    folder = tmp_path_factory.mktemp("pulse")
    with sound_server(folder) as server:
        (folder / "alsa").mkdir()
        (folder / "alsa" / "asoundrc").write_text(
            "".join(
                f'pcm."{name}" {{ type pulse device "{sink}.monitor" hint {{ show on }} }}\n'
                for name, sink in (("twin mic", "one"), ("twin  mic", "two"))
            )
        )
        server.unplug()
        server.modules = {}

        def plug(name):
            server.modules[name] = server._control("load-module", "module-null-sink", f"sink_name={name}").strip()

        for name in ("one", "two"):
            plug(name)
        server.plug_in = plug
        server.pull_out = lambda name: server._control("unload-module", server.modules.pop(name))
        sounddevice = pytest.importorskip("sounddevice")
        sounddevice._terminate()  # its list is older than the server
        sounddevice._initialize()
        yield server
        sounddevice._terminate()
        sounddevice._initialize()


def play(server, sink, samples, folder):
    path = folder / f"{sink}.wav"
    soundfile.write(path, samples, 48_000)
    return subprocess.run(["paplay", f"--device={sink}", path], env=server.environment, check=True)


def test_the_twin_that_was_listened_to_is_listened_to_again(twins, model, tmp_path):
    found = [device for device in microphone.devices() if device.name == "twin mic"]
    assert len(found) == 2
    number = found[1].index
    with Microphone(number) as source:  # whose number is whose is ALSA's choice
        pieces = iter(source)
        wait(lambda: len(next(pieces)), "nothing is heard")
        running = twins._control("list", "short", "sources")
    (sink,) = re.findall(r"\t(\w+)\.monitor\t.*RUNNING", running)
    other = {"one": "two", "two": "one"}[sink]
    with listening("--device", str(number), "-m", model, env=twins.environment) as process:
        wait(lambda: any("muted" in note for note in process.notes), "it doesn't listen")
        twins.pull_out(other)  # as with a hub; else the server hands on the other's sound
        twins.pull_out(sink)
        wait(lambda: any("twin mic: lost" in note for note in process.notes), "the loss isn't told")
        twins.plug_in(other)
        twins.plug_in(sink)
        wait(lambda: any("twin mic: is back" in note for note in process.notes), "the return isn't told")
        play(twins, other, said("yes", rate=48_000), tmp_path)
        play(twins, sink, said("no", rate=48_000), tmp_path)
        wait(lambda: process.lines, f"no isn't heard: {process.notes}")
        assert process.end() == 0
    assert [label for _, label, _ in rows("\n".join(process.lines))] == ["no"]
    assert sum("more than one input has that name" in note for note in process.notes) == 1
    assert any(re.search(rf"number {number} \(ALSA\)", note) for note in process.notes)
