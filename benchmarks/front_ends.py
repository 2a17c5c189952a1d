"""python -m benchmarks.front_ends: ways to compute the mel power of frames in an ONNX graph, side by side in one run.

`speechrnn.export.front_end` has the transform in two steps. The others are what is usual: one convolution with all
cosines and sines (dense), its frames folded into an even and an odd half first (half the multiplications), the STFT
operator.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import onnx
import torch
import typer
from onnx import TensorProto, helper, numpy_helper
from rich.table import Table

from speechrnn.audio import SAMPLE_RATE
from speechrnn.export.front_end import mel_power, windowed_frames
from speechrnn.export.nodes import IR_VERSION, OPSET, Graph
from speechrnn.inference import session
from speechrnn.terminal import plain_console
from speechrnn.timing import in_turns, paired_ratio
from speechrnn.training.config import FrontEndConfig
from speechrnn.training.front_end import FrontEnd

BLOCK = 320
Way = Callable[[Graph, str, FrontEnd], str]


def _power_to_mel(graph: Graph, real_and_imaginary: str, front_end: FrontEnd) -> str:
    """[batch, 2, bins, hops] -> [batch, hops, n_mels]"""
    power = graph.add("ReduceSumSquare", [real_and_imaginary], "power_columns", axes=[1], keepdims=0)
    rows = graph.add("Transpose", [power], "power", perm=[0, 2, 1])
    return graph.add("MatMul", [rows, graph.sparse_weight(front_end.bands, "bands")], "mel_power")


def _channel(graph: Graph, sound: str, front_end: FrontEnd) -> str:
    """[batch, 1, samples], from the first sample of the first window on."""
    c = front_end.config
    skipped = front_end.tail_length + c.hop_length - c.window_length
    bounds = [graph.constant(v, f"windowed_{k}") for k, v in (("from", [skipped]), ("to", [2**62]), ("axis", [1]))]
    windowed = graph.add("Slice", [sound, *bounds], "windowed")
    return graph.add("Unsqueeze", [windowed, graph.constant([1], "one")], "channel")


def _angles(c: FrontEndConfig, samples: np.ndarray) -> np.ndarray:
    """[bins, samples]"""
    return 2.0 * np.pi * np.outer(np.arange(c.n_fft // 2 + 1), samples) / c.n_fft


def dense(graph: Graph, sound: str, front_end: FrontEnd) -> str:
    """One convolution, a kernel for the cosine and the sine of each bin."""
    c = front_end.config
    angles = _angles(c, np.arange(c.window_length))
    kernels = np.concatenate([np.cos(angles), np.sin(angles)])[:, None] * front_end.window.numpy()
    inputs = [_channel(graph, sound, front_end), graph.weight(torch.from_numpy(kernels), "kernels")]
    lines = graph.add("Conv", inputs, "lines", strides=[c.hop_length])
    return _power_to_mel(graph, graph.reshape(lines, [0, 2, len(angles), -1], "parts"), front_end)


def folded(graph: Graph, sound: str, front_end: FrontEnd) -> str:
    """The window is even around its middle m: cosines see x[m + n] + x[m - n], sines x[m + n] - x[m - n]."""
    c = front_end.config
    frames = windowed_frames(graph, sound, front_end, 1, together=1)
    frames = graph.add("Cast", [graph.reshape(frames, [0, 0, -1], "frame_rows")], "frames_single", to=TensorProto.FLOAT)
    length, half = c.window_length, c.window_length // 2
    middle = length - half
    sides = []
    for side, end, step in (("right", length, 1), ("left", middle - half, -1)):
        bounds = (("start", [middle]), ("end", [end]), ("axis", [2]), ("step", [step]))
        sides.append(graph.add("Slice", [frames, *(graph.constant(v, f"{side}_{k}") for k, v in bounds)], side))
    angles = _angles(c, np.arange(half)).T
    once = np.where(np.arange(half) == 0, 0.5, 1.0)[:, None]  # x[m] is on both sides
    even, odd = graph.add("Add", sides, "even"), graph.add("Sub", sides, "odd")
    cosines = graph.weight(torch.from_numpy(once * np.cos(angles)), "cosines")
    sines = graph.weight(torch.from_numpy(np.sin(angles)), "sines")
    lines = [graph.add("MatMul", [even, cosines], "real"), graph.add("MatMul", [odd, sines], "imaginary")]
    power = graph.add("Add", [graph.add("Mul", [line, line], f"{line}_power") for line in lines], "power")
    return graph.add("MatMul", [power, graph.sparse_weight(front_end.bands, "bands")], "mel_power")


def stft(graph: Graph, sound: str, front_end: FrontEnd) -> str:
    """ONNX's operator; the window stands at the end of n_fft samples, zeros before it."""
    c = front_end.config
    before = c.n_fft - (front_end.tail_length + c.hop_length)
    padded = graph.add("Pad", [sound, graph.constant([0, before, 0, 0], "padding")], "padded")
    padded = graph.add("Cast", [padded], "padded_double", to=TensorProto.DOUBLE)
    window = np.pad(front_end.window.double().numpy(), (c.n_fft - c.window_length, 0))
    lengths = [graph.constant(np.array(n), k) for n, k in ((c.hop_length, "hop_length"), (c.n_fft, "n_fft"))]
    signal = graph.add("Unsqueeze", [padded, graph.constant([2], "two")], "signal")
    lines = graph.add("STFT", [signal, lengths[0], graph.constant(window, "window"), lengths[1]], "lines", onesided=1)
    lines = graph.add("Cast", [lines], "lines_single", to=TensorProto.FLOAT)
    return _power_to_mel(graph, graph.add("Transpose", [lines], "parts", perm=[0, 3, 2, 1]), front_end)


WAYS: dict[str, Way] = {
    "dense convolution": dense,
    "folded transform": folded,
    "STFT operator, double": stft,
    "two steps, double (used)": mel_power,
}


def build(way: Way, front_end: FrontEnd) -> onnx.ModelProto:
    """A graph from `sound` [batch, tail_length + samples] to `mel_power` [batch, hops, n_mels]."""
    graph = Graph()
    mel = graph.reshape(way(graph, "sound", front_end), [1, -1, front_end.config.n_mels], "frames")
    log = graph.add("Add", [mel, graph.scalar(front_end.config.log_offset, "log_offset")], "above_zero")
    graph.add("Log", [log], "log_mel")
    sound = helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, "samples"])
    frames = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, [1, "hops", front_end.config.n_mels])
    weights = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in graph.constants.items()]
    proto = helper.make_graph(graph.nodes, "front_end", [sound], [frames], weights)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def weight_bytes(proto: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(weight).nbytes for weight in proto.graph.initializer)


def tone_above_noise(samples: int) -> np.ndarray:
    """A loud tone over noise of 16-bit rounding [1, samples]: what rounding within the transform would hide."""
    rng = np.random.default_rng(0)
    tone = 0.5 * np.sin(0.7 * np.arange(samples)) + 1e-5 * rng.standard_normal(samples)
    return tone.astype(np.float32)[None]


def main(rounds: Annotated[int, typer.Option(min=1, help="Timed rounds, taken in turns")] = 15) -> None:
    """Compare the ways by weights in the file, by error beside a loud tone, and by time on one thread.

    Example: python -m benchmarks.front_ends --rounds 50
    """
    front_end = FrontEnd(FrontEndConfig()).eval()
    protos = {name: build(way, front_end) for name, way in WAYS.items()}
    sessions = {name: session(proto.SerializeToString()) for name, proto in protos.items()}
    sound = {n: tone_above_noise(front_end.tail_length + n) for n in (BLOCK, SAMPLE_RATE)}
    expected = torch.log(front_end.mel_power(torch.from_numpy(sound[SAMPLE_RATE])) + front_end.config.log_offset)
    times = {}
    for length, calls in ((BLOCK, 200), (SAMPLE_RATE, 20)):
        jobs = [partial(way.run, None, {"sound": sound[length]}) for way in sessions.values()]
        times[length] = dict(zip(sessions, in_turns(jobs, rounds, calls), strict=True))
    columns = ("way", "weights, KB", "largest error of log-mel", "block, µs", "of dense", "1 s, µs", "of dense")
    table = Table(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    reference = next(iter(WAYS))
    for name, way in sessions.items():
        error = np.abs(way.run(None, {"sound": sound[SAMPLE_RATE]})[0] - expected.numpy()).max()
        cells = [f"{weight_bytes(protos[name]) / 1000:.0f}", f"{error:.1e}"]
        for length in (BLOCK, SAMPLE_RATE):
            own, others = times[length][name], times[length][reference]
            cells += [f"{1e6 * np.median(own):.0f}", f"{paired_ratio(own, others):.2f}"]
        table.add_row(name, *cells)
    plain_console().print(table)


if __name__ == "__main__":
    typer.run(main)
