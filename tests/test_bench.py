"""The benchmark's reference is what it says, and every figure is there."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from speechrnn.cli.bench import recurrent_stack

FIGURES = {
    *("model", "file_MB", "block_ms", "block_p99_ms", "recurrent_step_ms", "block_to_recurrent_step_ratio"),
    *("real_time_factor", "clip_of_1_s_ms", "cold_start_s", "peak_memory_MB"),
}


def test_every_figure_is_printed():
    command = [sys.executable, "-m", "speechrnn", "bench", "--json"]
    [row] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(row) == FIGURES
    assert all(value > 0 for key, value in row.items() if key != "model")


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
