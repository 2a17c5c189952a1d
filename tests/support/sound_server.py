"""A sound server without sound cards, and a stand-in for the library that asks one."""

import contextlib
import os
import shutil
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from speechrnn.cli.doctor import Finding

NEEDED = {"pulseaudio": "pulseaudio", "paplay": "pulseaudio-utils", "pactl": "pulseaudio-utils"}


class Sink:
    """A sound card that tests play into, and its other end, which is listened to."""

    def __init__(self, environment):
        self.environment = environment
        self._module = ""

    def plug(self):
        self._module = self._control("load-module", "module-null-sink", "sink_name=mic", "rate=44100").strip()

    def unplug(self):
        self._control("unload-module", self._module)

    def play(self, samples, folder, rate=48_000):
        """Start to play float [samples]; returns the player."""
        path = folder / f"played-{time.monotonic_ns()}.wav"
        soundfile.write(path, samples, rate)
        return subprocess.Popen(["paplay", "--device=mic", path], env=self.environment)

    def _control(self, *arguments):
        return subprocess.run(
            ["pactl", *arguments], env=self.environment, check=True, capture_output=True, text=True
        ).stdout


@contextlib.contextmanager
def sound_server(folder):
    """A PulseAudio of the tests' own with one sink, plugged in; this process sees it, too."""
    missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if missing:
        message = f"needs a sound server: apt-get install {' '.join(missing)} libasound2-plugins libportaudio2"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder.chmod(0o700)
    own = {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": str(folder), "PULSE_SOURCE": "mic.monitor"}
    environment = {key: text for key, text in os.environ.items() if key != "PULSE_SERVER"} | own
    server = subprocess.Popen(
        ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--load=module-native-protocol-unix"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(lambda: (folder / "pulse" / "native").exists(), "the sound server doesn't start")
        sink = Sink(environment)
        sink.plug()
        with pytest.MonkeyPatch.context() as patch:
            for key, text in own.items():
                patch.setenv(key, text)
            yield sink
    finally:
        server.terminate()
        server.wait(10)


def wait(condition, message, seconds=20.0):
    """Until it is so; fails with `message` if it never is."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, message
        time.sleep(0.05)
    return found


def tone(frequency, seconds, rate=48_000, amplitude=0.3):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


class Library:
    """What of sounddevice is used, for a device that opens with all its four channels or not at all."""

    PortAudioError = OSError
    default = SimpleNamespace(device=(0, -1))

    def query_devices(self):
        return [{"name": "array", "index": 0, "hostapi": 0, "max_input_channels": 4, "default_samplerate": 16_000.0}]

    def query_hostapis(self):
        return [{"name": "ALSA"}]

    def InputStream(self, *, channels, callback, blocksize, **how):
        if channels != 4:
            raise OSError("Invalid number of channels")
        self.block = lambda values: callback(
            np.tile(np.float32(values), (blocksize, 1)), blocksize, None, SimpleNamespace(input_overflow=False)
        )
        return SimpleNamespace(active=True, start=lambda: None, abort=lambda **_: None, close=lambda **_: None)


GOOD = Finding(
    device="pulse",
    host_api="ALSA",
    native_rate=44_100,
    seconds=5.0,
    rms_dbfs=-30.0,
    peak_dbfs=-12.0,
    noise_floor_dbfs=-60.0,
    clipped_share=0.0,
    dc_offset=0.001,
    exact_zeros=False,
    dropped_blocks=0,
    lost=False,
    real_time_factor=0.01,
)
