"""`speechrnn doctor`: what it finds wrong with a real device, and with what was measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

from speechrnn.cli.doctor import advice
from tests.support.command_line import command, run
from tests.support.sound_server import GOOD, sound_server, tone
from tests.support.tone_model import write_tone_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    with sound_server(tmp_path_factory.mktemp("pulse")) as server:
        yield server


def test_a_good_microphone_gets_no_advice():
    assert advice(GOOD) == []


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ({"peak_dbfs": -60.0}, "too quiet"),
        ({"clipped_share": 0.01}, "clipped"),
        ({"noise_floor_dbfs": -25.0}, "noisy"),
        ({"dc_offset": -0.1}, "DC offset"),
        ({"dropped_blocks": 3}, "dropped"),
        ({"real_time_factor": 1.1}, "too slow"),
        ({"exact_zeros": True, "peak_dbfs": -120.0}, "muted"),
        ({"seconds": 0.0}, "stopped giving sound"),
        ({"lost": True}, "stopped giving sound"),
    ],
)
def test_each_problem_is_told_alone(measured, told):
    (problem,) = advice(replace(GOOD, **measured))
    assert told in problem


def doctor(sink, model, *arguments):
    return command("doctor", "--device", "pulse", "-m", model, "--seconds", "2", *arguments, env=sink.environment)


def examined(sink, model, samples, folder, *arguments):
    """What it finds while `samples` are played at 48 kHz, and its exit code."""
    player = sink.play(samples, folder)
    try:
        shown = doctor(sink, model, "--json", *arguments)
    finally:
        player.kill()
        player.wait()
    return json.loads(shown.stdout), shown.returncode


def test_exact_zeros_are_called_muted(sink, model):
    shown = doctor(sink, model)
    assert shown.returncode == 1
    assert "exact zeros only  yes" in shown.stdout
    assert "problem: nothing but exact zeros: it is muted" in shown.stdout
    assert shown.stderr == "speechrnn: listening to pulse for 2 s: say a few words\n"


def test_a_good_signal_is_measured_and_exit_code_0(sink, model, tmp_path):
    beeps = np.tile(np.concatenate([tone(700, 0.2, amplitude=0.25), tone(300, 0.3, amplitude=0.001)]), 120)
    found, code = examined(sink, model, beeps, tmp_path)
    assert (found["problems"], code) == ([], 0)
    assert found["device"] == "pulse"
    assert found["native_rate"] >= 8000
    assert found["seconds"] == pytest.approx(2, abs=0.3)
    assert found["peak_dbfs"] == pytest.approx(-12, abs=1)
    assert found["noise_floor_dbfs"] < -55
    assert found["exact_zeros"] is False
    assert abs(found["dc_offset"]) < 0.01
    assert found["real_time_factor"] > 0


def test_a_clipped_noisy_signal_is_called_both(sink, model, tmp_path):
    found, code = examined(sink, model, np.sign(tone(200, 60)), tmp_path)
    assert code == 1
    assert any("clipped" in problem for problem in found["problems"])
    assert any("noisy" in problem for problem in found["problems"])


def test_a_faint_signal_is_called_too_quiet(sink, model, tmp_path):
    found, code = examined(sink, model, tone(300, 60, amplitude=0.001), tmp_path)
    assert code == 1
    assert [problem.partition(":")[0] for problem in found["problems"]] == ["too quiet"]


def test_channels_of_opposite_phase_are_told_and_one_of_them_is_good(sink, model, tmp_path):
    beeps = np.tile(np.concatenate([tone(700, 0.2, amplitude=0.25), tone(300, 0.3, amplitude=0.001)]), 120)
    stereo = np.stack([beeps, -beeps], axis=1)
    found, code = examined(sink, model, stereo, tmp_path)
    assert code == 1
    assert found["channels_cancel"]
    assert [problem for problem in found["problems"] if "--channel 1" not in problem] == []
    assert found["channel_rms_dbfs"] == pytest.approx([-19, -19], abs=1)
    found, code = examined(sink, model, stereo, tmp_path, "--channel", "1")
    assert (found["problems"], found["hints"], code) == ([], [], 0)


def test_a_channel_without_a_microphone_is_a_hint(sink, model, tmp_path):
    beeps = np.tile(np.concatenate([tone(700, 0.2, amplitude=0.25), tone(300, 0.3, amplitude=0.001)]), 120)
    found, code = examined(sink, model, np.stack([0 * beeps, beeps], axis=1), tmp_path)
    assert (found["problems"], code) == ([], 0)
    (hint,) = found["hints"]
    assert "--channel 2" in hint


def test_without_such_a_device_it_is_exit_code_2_and_one_line(sink, model):
    shown = command("doctor", "--device", "piano", "-m", model, env=sink.environment)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert "there are: 0 " in shown.stderr


def test_help_shows_an_example():
    assert "Example: speechrnn doctor " in " ".join(run("doctor", "--help").stdout.split())
