"""The C program says what the ONNX file says: probabilities, labels, detections; on every cell, chunk and processor."""

import ctypes
import re
import subprocess

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import speechrnn
from speechrnn import decision
from speechrnn.evaluation.corpus import evaluation_clips
from speechrnn.evaluation.streams import make_stream
from speechrnn.export import c_compiled, c_source
from speechrnn.export.precision import Precision
from tests.support.c_program import (
    BLOCK,
    CELLS,
    RATE,
    STRICT,
    Case,
    heard_by,
    int16,
    need,
    program,
    untrained,
    wandering,
)
from tests.support.command_line import ROOT
from tests.support.sound_kinds import KINDS, sound

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

FILES = ["main.c", "speechrnn.c", "speechrnn.h"]
ARM = "arm-linux-gnueabihf-gcc"


def spotted(program, samples, *arguments):
    """Time, word and probability of each line that `spot` prints; samples int16."""
    done = subprocess.run([*map(str, program), *arguments], input=samples.tobytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return [(float(time), word, float(probability)) for time, unit, word, probability in lines]


def expected(model, samples, **settings):
    ear = speechrnn.Spotter(model, **settings)
    heard = ear.process(samples.astype(np.float32) / 32768) + ear.finish()
    return [(d.time, d.label, d.probability) for d in heard]


def assert_same(found, wanted, tolerance=1.1e-3):  # three decimals are printed
    assert [line[:2] for line in found] == [line[:2] for line in wanted]
    np.testing.assert_allclose([p for *_, p in found], [p for *_, p in wanted], atol=tolerance)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module", params=[(cell, precision) for cell in CELLS for precision in Precision], ids="-".join)
def case(request, small):
    cell, precision = request.param
    return Case(small / f"{cell}.onnx", precision)


@pytest.fixture(scope="module")
def gru(small):
    return Case(small / "gru.onnx")


@pytest.fixture(scope="module", params=Precision)
def shipped(request):
    return Case(speechrnn.load().path, request.param)


# probabilities


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_those_of_the_onnx_file(case, kind):
    """With int8, of the file that export.quantize makes; sound in 16 bits for both ways in."""
    samples = int16(sound(kind, 100 * BLOCK, seed=5))
    audio = samples.astype(np.float32) / 32768
    rows = heard_by(case.model, audio)
    assert np.ptp(rows, axis=0).max() > 0.02  # else agreement would be cheap
    np.testing.assert_allclose(case.process(audio), rows, atol=1e-3)
    np.testing.assert_allclose(case.process(samples), rows, atol=1e-3)


def test_probabilities_are_those_of_the_onnx_file_on_sound_that_comes_and_goes(case):
    assert c_compiled.largest_difference(case.library, case.model) < 1e-3


def test_single_precision_is_enough_beside_loud_tones(shipped):
    """The transform's rounding would show first in quiet bands beside clean tones over digital silence."""
    rng, time = np.random.default_rng(0), np.arange(RATE) / RATE
    for frequency in rng.uniform(20, 7900, 12):
        tone = np.sin(2 * np.pi * frequency * time) * np.repeat(rng.random(50) < 0.6, BLOCK)
        rows = heard_by(shipped.model, tone.astype(np.float32))
        np.testing.assert_allclose(shipped.process(tone.astype(np.float32)), rows, atol=1e-3)


def test_digital_silence_and_noise_louder_than_full_scale_are_numbers(case):
    for level in (0.0, 1e-30, 1e6):
        rows = case.process((level * sound("noise", 30 * BLOCK)).astype(np.float32))
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-5)


def test_labels_are_those_of_the_onnx_file_on_real_clips(shipped, validation_folder):
    clips = evaluation_clips(validation_folder, shipped.model.labels, "validation")
    share, difference = c_compiled.agreement(shipped.library, shipped.model, clips)
    assert share >= 0.998
    assert difference < 1e-3


# detections


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_the_decision_is_the_spotters(decisions, seed, which):
    """Under several smoothings, waits and hystereses."""
    case = decisions[which]
    model = case.model
    rows = wandering(seed, len(model.labels))
    found = [(d.time, d.label, d.probability) for d in speechrnn.Spotter(model).decide(rows)]
    assert_same(decided(case.library, model, rows), found, tolerance=1e-6)


def test_the_probabilities_of_the_decision_hold_detections(decisions):
    for case in decisions:
        rows = [wandering(seed, len(case.model.labels)) for seed in range(20)]
        assert sum(len(speechrnn.Spotter(case.model).decide(r)) for r in rows) > 20


class Detection(ctypes.Structure):
    _fields_ = (("label", ctypes.c_int), ("probability", ctypes.c_float), ("blocks", ctypes.c_uint32))


def decided(program, model, rows):
    program.reset()
    found, detection = [], Detection()
    for row in rows:
        if program.library.speechrnn_decide(program.state, row.ctypes, ctypes.byref(detection)):
            time = round(detection.blocks * model.card.block_seconds, 4)
            found.append((time, model.labels[detection.label], detection.probability))
    return found


@pytest.fixture(scope="module")
def decisions(small):
    thresholds = {"yes": 0.4, "no": 0.55}
    return [
        Case(
            small / "rnn.onnx", thresholds=thresholds, smoothing_seconds=smoothing, hysteresis=hysteresis,
            refractory_seconds=refractory,
        )
        for smoothing, hysteresis, refractory in ((0.1, 0.5, 0.5), (0.0, 1.0, 0.0), (0.06, 0.0, 0.02), (0.5, 0.9, 1.0))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ten_minutes(validation_folder):
    """Ten minutes of words and others in noise, int16."""
    clips = evaluation_clips(validation_folder, speechrnn.load().labels, "validation", seed=7)
    return int16(make_stream(clips, seed=7, seconds=600.0)[0])


def test_ten_minutes_have_the_detections_of_spot(shipped, ten_minutes):
    """Time and word, as `speechrnn spot` finds them with the file of the same weights."""
    wanted = expected(shipped.model, ten_minutes)
    assert len(wanted) > 150
    assert_same(spotted([shipped.spot], ten_minutes), wanted)


def test_detections_of_untrained_networks_are_the_spotters(case):
    samples = int16(sound("silence and speech", 20 * RATE + 77, seed=2))
    wanted = expected(case.model, samples)
    assert len(wanted) > 5
    assert_same(spotted([case.spot], samples), wanted)


def test_a_threshold_on_the_command_line_counts_for_all_words(gru):
    samples = int16(sound("speech", 20 * RATE, seed=2))
    wanted = expected(gru.model, samples, threshold=0.3)
    assert len(wanted) > 5
    assert wanted != expected(gru.model, samples)
    assert_same(spotted([gru.spot], samples, "0.3"), wanted)


@pytest.mark.parametrize("arguments", [["high"], ["0"], ["1.5"], ["nan"], ["0.5", "0.6"], [""]])
def test_other_arguments_are_refused(gru, arguments):
    done = subprocess.run([gru.spot, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


# stdin


def test_the_chunks_in_which_sound_comes_make_no_difference(gru):
    data = int16(sound("speech", 10 * RATE, seed=2)).tobytes() + b"\1"  # and half a sample
    whole = subprocess.run([gru.spot], input=data, capture_output=True, check=True).stdout
    rng = np.random.default_rng(0)
    with subprocess.Popen([gru.spot], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        while data:
            length = int(rng.choice([1, 7, 639, 640, 641, 5000, 20_000]))
            process.stdin.write(data[:length])
            data = data[length:]
        pieces, _ = process.communicate()
    assert pieces == whole
    assert whole.count(b"\n") > 2


def test_a_word_is_told_while_the_sound_still_runs(gru):
    samples = int16(sound("speech", 10 * RATE, seed=2))
    with subprocess.Popen([gru.spot], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        process.stdin.write(samples.tobytes())
        line = process.stdout.readline()
        assert process.poll() is None
        process.communicate()
    assert float(line.split()[0]) == expected(gru.model, samples)[0][0]


def test_the_last_block_of_the_silence_after_the_end_counts(gru):
    """A threshold that a word reaches in that block and not before."""
    found = 0
    for blocks in range(1, 60):
        samples = int16(sound("speech", blocks * BLOCK, seed=2))
        rows = gru.model.posteriors(samples.astype(np.float32) / 32768)
        smoothed = decision.smooth(np.pad(rows, ((4, 0), (0, 0))), 5)[:, [0, 1]]
        before, last = smoothed[:-1].max(), smoothed[-1].max()
        if last > before + 1e-4:
            threshold = f"{(before + last) / 2:.6f}"
            wanted = expected(gru.model, samples, threshold=float(threshold))
            assert len(wanted) == 1
            assert_same(spotted([gru.spot], samples, threshold), wanted)
            found += 1
    assert found > 0


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321])
def test_the_end_is_heard_out_as_spot_does(gru, samples):
    """With so many samples in the last block; the threshold is such that the silence after it is told."""
    for seed in range(4):
        heard = int16(sound("speech", 30 * BLOCK + samples, seed))[: 30 * BLOCK * (seed > 0) + samples]
        assert_same(spotted([gru.spot], heard, "0.2"), expected(gru.model, heard, threshold=0.2))


@pytest.mark.parametrize("tail", [0, 0.39, 0.415, 0.43])
def test_odd_tails_are_heard_out_as_spot_does(small, tail):
    odd = Case(small / "gru.onnx", tail_seconds=tail)
    for seed in range(4):
        heard = int16(sound("speech", 30 * BLOCK + 100, seed))
        assert_same(spotted([odd.spot], heard, "0.2"), expected(odd.model, heard, threshold=0.2))


@pytest.mark.parametrize(
    ("begins", "name"),
    [
        (b"RIFF\0\0\0\0WAVE", "WAV"), (b"RF64", "WAV"), (b"fLaC", "FLAC"), (b"OggS", "Ogg"), (b"ID3\4", "MP3"),
        (b"FORM\0\0\0\0AIFF", "AIFF"), (b".snd", "AU"), (b"caff", "CAF"), (b"riff", "W64"), (b"\x1f\x8b\x08", "gzip"),
    ],
)  # fmt: skip
def test_a_file_on_stdin_is_refused(gru, begins, name):
    done = subprocess.run([gru.spot], input=begins + bytes(2000), capture_output=True, text=False)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert name.encode() in done.stderr
    assert b"arecord -t raw" in done.stderr


# the compiler's and the processor's word


def test_the_sanitizers_find_nothing(case, tmp_path):
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    spot = program(case, tmp_path, "gcc", *flags)
    loud = int16(4.0 * sound("noise", 2 * RATE))
    samples = np.concatenate([int16(sound("silence and speech", 8 * RATE + 5, seed=2)), loud])
    assert len(spotted([spot], samples)) > 2


def test_the_sanitizers_find_nothing_in_the_shipped_model(shipped, tmp_path):
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    example = example_clip("yes")
    assert [word for _, word, _ in spotted([program(shipped, tmp_path, "gcc", *flags)], example)] == ["yes"]


def example_clip(name):
    return soundfile.read(ROOT / "examples" / f"{name}.wav", dtype="int16")[0]


def test_32_bit_arm_finds_the_same_words(shipped, tmp_path):
    need(ARM, "qemu-arm")
    spot = program(shipped, tmp_path, ARM, "-O2")
    samples = np.concatenate([example_clip(name) for name in ("yes", "left", "no", "marvin", "go", "stop")])
    here = spotted([shipped.spot], samples)
    assert len(here) >= 3
    assert_same(spotted(["qemu-arm", "-L", "/usr/arm-linux-gnueabihf", spot], samples), here)


def test_the_memory_is_what_is_stated(case, tmp_path):
    need("gcc")
    case.made.write(tmp_path)
    text = f'#include "speechrnn.h"\ntypedef char check[sizeof(speechrnn_state) == {case.made.state_bytes} ? 1 : -1];'
    (tmp_path / "size.c").write_text(text)
    subprocess.run(["gcc", "-std=c99", "-c", "-o", "/dev/null", tmp_path / "size.c"], check=True)
    assert f"{case.made.state_bytes} bytes in speechrnn_state" in case.made.files["speechrnn.h"].replace("\n *", "")


def test_flash_and_stack_are_what_is_stated(shipped, tmp_path):
    """Compiled by size for the instructions of a Cortex-M."""
    need(ARM, "arm-linux-gnueabihf-size")
    shipped.made.write(tmp_path)
    flags = ["-std=c99", "-mthumb", "-Os", "-fno-pic", "-fstack-usage", "-c"]
    subprocess.run([ARM, *flags, "-o", "speechrnn.o", "speechrnn.c"], cwd=tmp_path, check=True)
    sized = subprocess.run(
        ["arm-linux-gnueabihf-size", "speechrnn.o"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    text, data, bss = map(int, sized.stdout.splitlines()[1].split()[:3])
    assert (data, bss) == (0, 0)  # nothing but the state changes
    assert 0 < text - shipped.made.constant_bytes < 1000 * c_source.CODE_KILOBYTES
    stack = [int(line.split("\t")[1]) for line in (tmp_path / "speechrnn.su").read_text().splitlines()]
    assert 0 < sum(stack) < c_source.STACK_BYTES


def test_nothing_in_the_program_is_double_or_allocated(shipped, tmp_path):
    need("gcc", "nm")
    shipped.made.write(tmp_path)
    flags = [*STRICT, "-Wdouble-promotion", "-Wconversion", "-Wshadow", "-O2"]
    subprocess.run(["gcc", *flags, "-c", "speechrnn.c"], cwd=tmp_path, check=True)
    listed = subprocess.run(["nm", "-u", "speechrnn.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    used = {line.split()[-1] for line in listed.stdout.splitlines()} - {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    assert used <= {"expf", "logf", "tanhf", "memcpy", "memmove", "memset"}
    assert not re.search(r"\bdouble\s+\w+\s*[;=\[]", shipped.made.files["speechrnn.c"])
