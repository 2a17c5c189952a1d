"""A model that knows two tones as words, and `listen` run on what they say."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from speechrnn import card
from tests.support.command_line import ROOT
from tests.support.sound_server import tone

BLOCK, RATE = 320, 16_000


WORDS = {"yes": 1000, "no": 2000}  # Hz


def write_tone_model(path):
    """A model whose posterior of a word is the share of its tone in the energy of a block."""
    time_ = np.arange(BLOCK) / RATE
    waves = [wave(2 * np.pi * f * time_) for f in WORDS.values() for wave in (np.cos, np.sin)]
    constants = {
        "blocks": np.array([0, -1, BLOCK]),
        "waves": np.stack(waves, axis=1).astype(np.float32),
        "pairs": np.kron(np.eye(2), np.ones((2, 1))).astype(np.float32) * 2 / BLOCK,
        "last": np.array([-1]),
        "floor": np.float32(1e-3),
        "one": np.float32(1),
    }
    nodes = [
        helper.make_node("Reshape", ["audio", "blocks"], ["sound"]),
        helper.make_node("MatMul", ["sound", "waves"], ["projected"]),
        helper.make_node("Mul", ["projected", "projected"], ["squared"]),
        helper.make_node("MatMul", ["squared", "pairs"], ["power"]),
        helper.make_node("Mul", ["sound", "sound"], ["energies"]),
        helper.make_node("ReduceSum", ["energies", "last"], ["energy"]),
        helper.make_node("Add", ["energy", "floor"], ["whole"]),
        helper.make_node("Div", ["power", "whole"], ["words"]),
        helper.make_node("ReduceSum", ["words", "last"], ["spoken"]),
        helper.make_node("Sub", ["one", "spoken"], ["silence"]),
        helper.make_node("Concat", ["words", "silence"], ["probabilities"], axis=-1),
        helper.make_node("Identity", ["state"], ["next_state"]),
    ]
    values = {"audio": ["batch", "samples"], "state": ["batch", 1]}
    results = {"probabilities": ["batch", "steps", 3], "next_state": ["batch", 1]}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sizes.items()]
        for sizes in (values, results)
    )
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tones", inputs, outputs, stored)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    described = card.Card(
        name="tones",
        labels=(*WORDS, card.SILENCE),
        words=tuple(WORDS),
        sample_rate=RATE,
        block_length=BLOCK,
        state_size=1,
        front_end={},
        network={},
        tail_seconds=0.2,
        smoothing_seconds=0.1,
        thresholds=dict.fromkeys(WORDS, 0.8),
        hysteresis=0.5,
        refractory_seconds=0.5,
        training_data=("none",),
    )
    helper.set_model_props(proto, {card.METADATA_KEY: described.to_json()})
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tone_model(tmp_path_factory.mktemp("model") / "tones.onnx")


def said(*words, rate=RATE):
    """Each word for 0.4 s, after 0.6 s of silence."""
    gap = np.zeros(round(0.6 * rate))
    parts = [part for word in words for part in (gap, tone(WORDS[word], 0.4, rate))]
    return np.concatenate([*parts, gap]).astype(np.float32)


def pcm(samples):
    return np.rint(samples * 32_767).astype("<i2").tobytes()


@pytest.fixture
def clip(tmp_path):
    """A sound file in which yes, no, yes are said."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, said("yes", "no", "yes"), RATE)
    return path


def rows(text):
    """The plain lines, as (time, label, probability)."""
    return [(float(time), label, float(p)) for time, label, p in map(str.split, text.splitlines())]


@contextlib.contextmanager
def listening(*arguments, **how):
    """The real command, in the background; what it said so far is in its `lines` and `notes`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **how.pop("env", {})}
    argv = [sys.executable, "-m", "speechrnn", "listen", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | how
    # A test run in the background may have been told to ignore Ctrl-C, and children inherit that.
    process = subprocess.Popen(
        argv, env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes
    )
    process.lines, process.notes = [], []
    readers = [
        threading.Thread(target=collect, args=(f, kept), daemon=True)
        for f, kept in ((process.stdout, process.lines), (process.stderr, process.notes))
        if f is not None
    ]
    for reader in readers:
        reader.start()
    process.end = lambda: end(process, readers)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def collect(file, kept):
    for line in file:
        kept.append(line.decode().rstrip("\n"))


def end(process, readers):
    """Ctrl-C; the exit code."""
    process.send_signal(signal.SIGINT)
    code = process.wait(30)
    for reader in readers:
        reader.join(10)
    return code
