"""The C that is written for a model, compiled with strict warnings, and untrained models of each cell for it."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import pytest

from speechrnn import decision
from speechrnn.export import c_compiled, c_source, c_weights, to_c, to_onnx
from speechrnn.export.precision import Precision
from speechrnn.model import Model
from tests.support.networks import recognizer, saved
from tests.support.sound_kinds import sound

RATE, BLOCK = 16_000, 320


CELLS = ("gru", "lstm", "rnn")


STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")


def need(*programs):
    """Skip where one of them is missing; CI skips nothing."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} missing: CI skips nothing")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


class Case:
    """A model and its C program, which is made and compiled once."""

    def __init__(self, path, precision=Precision.float32, **card):
        self.precision = precision
        self.model = to_c.with_weights(Model(path), precision)  # with int8, what export.quantize makes of it
        self.model.card = replace(self.model.card, **card)
        self.made = c_source.program(c_weights.read(self.model), self.model.card, precision, path.name)

    @cached_property
    def library(self):
        need("gcc")
        return c_compiled.Compiled(self.made, self.model.card, ["gcc"], (*STRICT, "-O3"))

    def process(self, samples):
        """Probabilities from a fresh start."""
        self.library.reset()
        return self.library.process(samples)

    @cached_property
    def spot(self):
        """The program as an executable file."""
        self._folder = tempfile.TemporaryDirectory()
        return program(self, Path(self._folder.name))


def program(case, folder, compiler="gcc", *flags):
    need(compiler)
    case.made.write(folder)
    sources = [folder / name for name in case.made.files if name.endswith(".c")]
    subprocess.run([compiler, *STRICT, *(flags or ["-O3"]), "-o", folder / "spot", *sources, "-lm"], check=True)
    return folder / "spot"


def int16(samples):
    return np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2")


def edited(path, target, edit):
    proto = onnx.load(path)
    edit(proto)
    onnx.save(proto, target)


def set_card(**values):
    def edit(proto):
        card = json.loads(proto.metadata_props[0].value)
        for key, value in values.items():
            card[key] = {**card[key], **value} if isinstance(value, dict) and value else value
        proto.metadata_props[0].value = json.dumps(card)

    return edit


def untrained(folder):
    """Untrained networks as ONNX files, by cell; their thresholds lie where the posteriors of speech come and go."""

    def quantile(smoothed):
        return round(float(np.quantile(smoothed, 0.7)), 3)

    for cell, seed in (("gru", 3), ("lstm", 3), ("rnn", 8)):
        path = folder / f"{cell}.onnx"
        to_onnx.export(saved(folder / f"{cell}.pt", recognizer(cell, seed)), path)
        model = Model(path)
        smoothed = decision.smooth(model.posteriors(sound("speech", 10 * RATE, seed=2)), 5)
        thresholds = {
            w: round(float(np.quantile(smoothed[:, model.labels.index(w)], 0.7)), 3) for w in model.card.words
        }
        edited(path, path, set_card(thresholds=thresholds, hysteresis=0.95))
    return folder


def heard_by(model, samples):
    return model.stream().process(samples[None])[0]


def wandering(seed, labels):
    """Probabilities [300, labels] that come and go."""
    walk = np.cumsum(np.random.default_rng(seed).normal(0.0, 0.7, (300, labels)), axis=0)
    rows = np.exp(walk - walk.max(axis=1, keepdims=True))
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
