"""The benchmark's reference is what it says, and every figure is there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer

import speechrnn
from speechrnn import timing
from speechrnn.cli import bench
from speechrnn.cli.bench import recurrent_stack
from speechrnn.cli.quantize import quantize as quantize_verb
from speechrnn.export import to_onnx
from tests.support.command_line import refused, run
from tests.support.networks import recognizer, saved

TEXTS = {"model", "processor", "onnxruntime", "weights"}
FIGURES = {
    *TEXTS,
    *("file_MB", "block_ms", "block_p99_ms", "recurrent_step_ms", "block_to_recurrent_step_ratio"),
    *("real_time_factor", "clip_of_1_s_ms", "cold_start_s", "peak_memory_MB"),
}


@pytest.mark.slow
def test_every_figure_is_printed():
    command = [sys.executable, "-m", "speechrnn", "bench", "--json"]
    [row] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(row) == FIGURES
    assert all(value > 0 for key, value in row.items() if key not in TEXTS)
    assert row["weights"] == "float32"
    assert row["onnxruntime"] == onnxruntime.__version__


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_the_reference_is_a_recurrent_stack_of_the_size_that_was_asked_for(cell):
    content = recurrent_stack(cell, features=6, hidden=5, layers=2)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    inputs = {i.name: np.full(i.shape, 0.5, np.float32) for i in session.get_inputs()}
    outputs = {o.name: o.shape for o in session.get_outputs()}
    assert inputs["rows"].shape == (1, 1, 6)
    assert all(np.isfinite(value).all() for value in session.run(None, inputs))
    assert outputs["rows1"] == [1, 1, 5]
    weights = sum(p.numel() for p in getattr(torch.nn, cell.upper())(6, 5, 2).parameters())
    initializers = onnx.load_from_string(content).graph.initializer
    assert sum(int(np.prod(i.dims)) for i in initializers if i.name != "axis") == weights


# several models


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    assert run(speechrnn.load().path, path, start=lambda: typer.run(quantize_verb)).returncode == 0
    return path


@pytest.fixture
def lstm(tmp_path, one_thread):
    to_onnx.export(saved(tmp_path / "best.pt", recognizer("lstm")), tmp_path / "lstm.onnx")
    return tmp_path / "lstm.onnx"


@pytest.fixture
def quick(monkeypatch):
    """Fewer rounds, and none of the processes that a figure takes: for tests of what is done with the figures."""
    monkeypatch.setattr(timing, "ROUNDS", 5)
    monkeypatch.setattr(timing, "BLOCKS", 4)
    monkeypatch.setattr(timing, "CLIPS", 2)
    monkeypatch.setattr(bench, "_cold_start", lambda path: 0.25)
    monkeypatch.setattr(bench.long_run, "run", lambda path, *rest, **options: bench.LongRun(90.0, 90.0, ()))


def test_models_are_measured_side_by_side(quick, int8, lstm):
    shown = run("bench", speechrnn.load().path, int8, lstm, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = json.loads(shown.stdout)
    assert [Path(row["model"]) for row in rows] == [speechrnn.load().path, int8, lstm]
    assert [row["weights"] for row in rows] == ["float32", "int8", "float32"]
    assert all(set(row) == FIGURES | {"block_to_first_model_ratio"} for row in rows)
    assert all(value > 0 for row in rows for key, value in row.items() if key not in TEXTS)
    assert rows[0]["block_to_first_model_ratio"] == 1.0
    assert rows[1]["file_MB"] < rows[0]["file_MB"] / 2
    assert len({row["recurrent_step_ms"] for row in rows}) == 3, "each has a reference of its own"


def test_they_share_one_table(quick, int8):
    shown = run("bench", speechrnn.load().path, int8)
    header = next(line for line in shown.stdout.splitlines() if "measure" in line)
    assert header.index(speechrnn.load().path.name) < header.index("int8.onnx")
    assert f"onnxruntime {onnxruntime.__version__}" in shown.stdout
    for measure in ("weights", "file MB", "block ms", "clip of 1 s ms", "cold start s", "peak memory MB"):
        [line] = [line for line in shown.stdout.splitlines() if f" {measure} " in line]
        assert len(line.split("\u2502")) == 5, "a cell for each model"


def test_models_of_the_same_name_are_told_apart():
    names = bench._names([Path("a/model.onnx"), Path("b/model.onnx")])
    assert names == ["a/model.onnx", "b/model.onnx"]
    assert bench._names([Path("a/model.onnx"), Path("b/other.onnx")]) == ["model.onnx", "other.onnx"]


def test_a_model_that_cannot_be_read_is_named_and_the_rest_measured(quick, tmp_path, int8):
    broken, foreign = tmp_path / "broken.onnx", tmp_path / "foreign.onnx"
    broken.write_text("no model")
    proto = onnx.load(int8)
    card = json.loads(proto.metadata_props[0].value) | {"network": {"cell": "transformer"}}
    onnx.helper.set_model_props(proto, {"speechrnn": json.dumps(card)})
    onnx.save(proto, foreign)
    some = run("bench", broken, int8, foreign, tmp_path / "missing.onnx", "--json")
    assert some.returncode == 1
    assert [Path(row["model"]) for row in json.loads(some.stdout)] == [int8]
    for line, name in zip(some.stderr.splitlines(), ("broken", "foreign", "missing"), strict=True):
        assert f"{name}.onnx" in line
    none = run("bench", broken)
    refused(none, broken)
    assert none.stdout == ""


def test_a_ratio_is_that_of_the_same_round():
    """A machine that is busy for half of the rounds slows both jobs; the ratio stays."""
    job = np.array([[2.0, 2.0, 9.0], [20.0, 20.0, 90.0], [2.2, 2.0, 9.0]])
    reference = np.array([[1.0, 1.0, 5.0], [10.0, 10.0, 50.0], [10.0, 10.0, 50.0]])
    assert timing.paired_ratio(job, reference) == pytest.approx(2.0)
    assert timing.paired_ratio(job[:, 0], reference[:, 0]) == pytest.approx(2.0)


def test_the_machine_has_a_name():
    name = bench.processor()
    assert name == name.strip() != ""
    assert "\0" not in name


def test_jobs_take_turns_and_the_first_round_does_not_count():
    order = []
    times = timing.median_times([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert order == ["a", "b"] * 4
    assert len(times) == 2
