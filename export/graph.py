"""A trained recognizer in, the same computation as an ONNX graph out, built node by node from its weights.

No exporter stands between: the graph has only what is needed, its batch and time axes are free, and a new torch can't
change it. `export.to_onnx` compares both before a file is written. Batch normalisation is folded into the convolutions.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from speechrnn.training.config import FrontEndConfig
from speechrnn.training.network import CausalConvolution, Recognizer

OPSET = 17
IR_VERSION = 8  # of the same age
MOST_COLUMNS = 8  # of the second step of the Fourier transform: more need larger matrices
RECURRENT = {  # cell: operator, torch's gate order -> ONNX's
    "gru": ("GRU", (1, 0, 2)),  # torch r, z, n; ONNX z, r, h
    "lstm": ("LSTM", (0, 3, 1, 2)),  # torch i, f, g, o; ONNX i, o, f, c
    "rnn": ("RNN", (0,)),
}


class Graph:
    """Collects nodes and constants; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, value: np.ndarray | Sequence[int], name: str) -> str:
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        if name in self.constants and not np.array_equal(self.constants[name], array):
            raise ValueError(f"two constants are called {name}")
        self.constants[name] = array
        return name

    def weight(self, tensor: torch.Tensor, name: str) -> str:
        return self.constant(tensor.detach().double().numpy().astype(np.float32), name)

    def scalar(self, value: float, name: str) -> str:
        return self.constant(np.array(value, np.float32), name)

    def add(
        self, operator: str, inputs: Sequence[str], output: str, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output, *outputs], name=output, **attributes))
        return output

    def split(self, name: str, sizes: Sequence[int], outputs: Sequence[str], axis: int) -> list[str]:
        lengths = self.constant(list(sizes), f"{outputs[0]}_split")
        self.add("Split", [name, lengths], outputs[0], outputs[1:], axis=axis)
        return list(outputs)

    def last(self, name: str, length: int, axis: int, output: str) -> str:
        """The last `length` entries along an axis."""
        bounds = [("start", [-length]), ("end", [np.iinfo(np.int64).max]), ("axis", [axis])]
        return self.add("Slice", [name, *(self.constant(v, f"{output}_{k}") for k, v in bounds)], output)

    def reshape(self, name: str, shape: Sequence[int], output: str) -> str:
        return self.add("Reshape", [name, self.constant(list(shape), f"{output}_shape")], output)


def build(model: Recognizer) -> onnx.ModelProto:
    """The stateful waveform graph: `audio`, `state` -> `probabilities`, `next_state`."""
    graph, network = Graph(), model.network
    names = [f"tail_{i}" for i in range(len(network.convolutions))]
    memory = _recurrent_states(model)
    hidden_sizes = [network.config.hidden_size] * len(memory)
    sizes = [model.front_end.tail_length, *network.state_sizes[:-1], *hidden_sizes]
    starts = [f"{state}_row" for state in memory]
    audio_tail, *parts = graph.split("state", sizes, ["audio_tail", *names, *starts], axis=1)
    tails = parts[: len(names)]

    frames, next_audio_tail = _front_end(graph, model, audio_tail)
    next_state, rows = [next_audio_tail], frames
    for i, (convolution, tail) in enumerate(zip(network.convolutions, tails, strict=True)):
        assert isinstance(convolution, CausalConvolution)
        rows, next_tail = _convolution(graph, convolution, rows, tail, f"convolution_{i}")
        next_state.append(next_tail)
    # The linear layer is a convolution over all bands; what it leaves is [batch, features, blocks, 1].
    shape = network.features.out_features, network.config.channels, 1, -1
    weights = graph.weight(network.features.weight.reshape(shape), "features_weight")
    inputs = [rows, weights, graph.weight(network.features.bias, "features_bias")]
    features = graph.add("Relu", [graph.add("Conv", inputs, "features_sum")], "features_last")
    features = graph.add("Squeeze", [features, graph.constant([3], "axis_3")], "features_second")
    features = graph.add("Transpose", [features], "features", perm=[2, 0, 1])  # ONNX wants time first
    outputs, next_hidden = _recurrent(graph, model, features)
    logits = graph.add("MatMul", [outputs, graph.weight(network.output.weight.T, "output_weight")], "output_product")
    logits = graph.add("Add", [logits, graph.weight(network.output.bias, "output_bias")], "logits")
    softmax = graph.add("Softmax", [logits], "posteriors", axis=-1)
    graph.add("Transpose", [softmax], "probabilities", perm=[1, 0, 2])
    graph.add("Concat", [*next_state, *next_hidden], "next_state", axis=1)

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    proto = helper.make_graph(
        graph.nodes,
        "speechrnn",
        [value("audio", "batch", "samples"), value("state", "batch", model.state_size)],
        [value("probabilities", "batch", "blocks", len(model.labels)), value("next_state", "batch", model.state_size)],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in graph.constants.items()],
    )
    return helper.make_model(
        proto, producer_name="speechrnn", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def _front_end(graph: Graph, model: Recognizer, tail: str) -> tuple[str, str]:
    """Normalised log-mel frames [batch, 1, hops, n_mels] and the next sound tail."""
    c, front_end = model.config.front_end, model.front_end
    heard = graph.add("Concat", [tail, "audio"], "heard", axis=1)
    next_tail = graph.last(heard, front_end.tail_length, 1, "next_audio_tail")
    square, mel_bands = _power_spectrum(graph, heard, c, front_end.window, front_end.bands)
    mel = graph.add("MatMul", [square, graph.weight(mel_bands, "mel_bands")], "mel_power")
    offset = graph.add("Add", [mel, graph.scalar(c.log_offset, "log_offset")], "mel_offset")
    log_mel = graph.add("Log", [offset], "log_mel")
    scale, bias = _affine(model.network.input_norm)
    scaled = graph.add("Mul", [log_mel, graph.weight(scale, "band_scale")], "log_mel_scaled")
    return graph.add("Add", [scaled, graph.weight(bias, "band_bias")], "frames"), next_tail


def _power_spectrum(
    graph: Graph, heard: str, c: FrontEndConfig, window: torch.Tensor, bands: torch.Tensor
) -> tuple[str, torch.Tensor]:
    """Power [batch, 1, hops, rows] of the frames, and the mel bands [rows, n_mels] that fit its order of frequencies.

    The Fourier transform in two steps (Cooley and Tukey 1965), each a product with a small matrix: n_fft = many * few,
    sample n = few * n1 + n2, frequency k = k1 + many * k2. First over n1, for k1 up to many / 2 (the rest is
    mirrored, since sound is real); then over n2, with the twiddle factors in the matrix of each k1. A frame is a whole
    number of hops, so that frames are slices of a table of hops; in front of the window there are zeros. All in double
    precision: beside a loud tone, float32 rounding is as large as what quiet bands hold, and the logarithm makes that
    visible.
    """
    hops = -(-c.window_length // c.hop_length)
    length = hops * c.hop_length
    few = math.gcd(length, c.n_fft, MOST_COLUMNS)
    many, kept = c.n_fft // few, c.n_fft // few // 2 + 1
    first = np.exp(-2j * np.pi * np.outer(np.arange(kept), np.arange(length // few)) / many)
    frequencies = np.arange(kept)[:, None] + many * np.arange(few)  # [k1, k2]
    second = np.exp(-2j * np.pi * np.arange(few)[None, :, None] * frequencies[:, None, :] / c.n_fft)  # [k1, n2, k2]
    real = np.concatenate([second.real, second.imag], axis=2)  # of what the real part of n2 gives
    imaginary = np.concatenate([-second.imag, second.real], axis=2)
    parts = np.stack([first.real, first.imag], axis=1).reshape(2 * kept, -1)  # real and imaginary part of each k1

    padding = [0, length - c.window_length, 0, 0]
    padded = graph.add("Pad", [heard, graph.constant(padding, "front_padding")], "padded")
    table = graph.reshape(padded, [0, -1, c.hop_length], "hops")
    table = graph.add("Cast", [table], "hops_double", to=TensorProto.DOUBLE)
    slices = []
    for i in range(hops):
        end = i - hops + 1 or np.iinfo(np.int64).max
        bounds = [("start", [i]), ("end", [end]), ("axis", [1])]
        inputs = [table, *(graph.constant(v, f"hop_{i}_{k}") for k, v in bounds)]
        slices.append(graph.add("Slice", inputs, f"hop_{i}"))
    frames = graph.add("Concat", slices, "unweighted_frames", axis=2) if hops > 1 else slices[0]
    weights = np.pad(window.double().numpy(), (length - c.window_length, 0))
    frames = graph.add("Mul", [frames, graph.constant(weights, "window")], "weighted_frames")
    # [batch, hops, length / few, few] -> [batch, hops, 2 * kept, few] -> [kept, batch, hops, 2 * few]
    frames = graph.add("Reshape", [frames, graph.constant([0, 0, length // few, few], "frame_shape")], "frame_rows")
    product = graph.add("MatMul", [graph.constant(parts, "fourier_first"), frames], "first_product")
    product = graph.reshape(product, [0, 0, kept, 2 * few], "first_parts")
    product = graph.add("Transpose", [product], "first_transform", perm=[2, 0, 1, 3])
    matrices = graph.constant(np.concatenate([real, imaginary], axis=1)[:, None], "fourier_second")
    product = graph.add("MatMul", [product, matrices], "second_product")
    product = graph.reshape(product, [0, 0, 0, 2, few], "spectrum")
    square = graph.add("ReduceSumSquare", [product], "power_rows", axes=[3], keepdims=0)  # [kept, batch, hops, few]
    square = graph.add("Cast", [square], "power_single", to=TensorProto.FLOAT)
    square = graph.add("Transpose", [square], "power_last", perm=[1, 2, 0, 3])
    square = graph.reshape(square, [0, 1, -1, kept * few], "power")

    mirrored = np.minimum(frequencies, c.n_fft - frequencies).ravel()
    once = np.zeros(len(mirrored), bool)
    once[np.unique(mirrored, return_index=True)[1]] = True  # some frequencies come twice, as themselves and mirrored
    return square, bands[mirrored] * torch.from_numpy(once)[:, None]


def _affine(norm: torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch normalisation with fixed statistics is y = scale * x + bias; in double precision, to lose nothing."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _convolution(graph: Graph, layer: CausalConvolution, rows: str, tail: str, name: str) -> tuple[str, str]:
    channels, past, bands = layer.tail_shape
    tail = graph.reshape(tail, [-1, channels, past, bands], f"{name}_tail")
    heard = graph.add("Concat", [tail, rows], f"{name}_heard", axis=2)
    kept = graph.last(heard, past, 2, f"{name}_next_tail_rows")
    next_tail = graph.reshape(kept, [0, channels * past * bands], f"{name}_next_tail")
    scale, bias = _affine(layer.norm)
    out = heard
    for part, operator in (("depthwise", layer.depthwise), ("mix", layer.mix)):
        if not isinstance(operator, torch.nn.Conv2d):
            continue
        weight = operator.weight.double()
        inputs = [
            out,
            graph.weight(weight * scale[:, None, None, None] if part == "mix" else weight, f"{name}_{part}_weight"),
        ]
        if part == "mix":
            inputs.append(graph.weight(bias, f"{name}_bias"))
        around = operator.kernel_size[1] // 2  # in frequency; in time the tail stands in front
        out = graph.add(
            "Conv", inputs, f"{name}_{part}", strides=list(operator.stride), group=operator.groups,
            kernel_shape=list(operator.kernel_size), pads=[0, around, 0, around],
        )  # fmt: skip
    if layer.residual:
        out = graph.add("Add", [out, rows], f"{name}_sum")
    return graph.add("Relu", [out], name), next_tail


def _recurrent_states(model: Recognizer) -> list[str]:
    """The parts of the recurrent state, each [batch, hidden_size], in the order of the flat state."""
    kinds = ["hidden", "memory"] if model.config.network.cell == "lstm" else ["hidden"]
    return [f"{kind}_{layer}" for kind in kinds for layer in range(model.config.network.layers)]


def _recurrent(graph: Graph, model: Recognizer, features: str) -> tuple[str, list[str]]:
    """The recurrent stack over [blocks, batch, features]; its next states as parts of the flat state."""
    config, cell = model.config.network, model.network.cell
    operator, gates = RECURRENT[config.cell]
    kinds = ["hidden", "memory"] if config.cell == "lstm" else ["hidden"]
    states = _recurrent_states(model)
    start = {
        state: graph.add("Unsqueeze", [f"{state}_row", graph.constant([0], "axis_0")], f"{state}_start")
        for state in states
    }

    def ordered(tensor: torch.Tensor) -> torch.Tensor:
        chunks = tensor.chunk(len(gates))
        return torch.cat([chunks[gate] for gate in gates])[None]

    rows = features
    for layer in range(config.layers):
        name = f"{config.cell}_{layer}"
        weight, recurrence, bias, recurrence_bias = (
            getattr(cell, f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        both = torch.cat([ordered(bias), ordered(recurrence_bias)], dim=1)
        inputs = [rows, graph.weight(ordered(weight), f"{name}_W"), graph.weight(ordered(recurrence), f"{name}_R")]
        inputs += [graph.weight(both, f"{name}_B"), "", *(start[f"{kind}_{layer}"] for kind in kinds)]
        # torch applies the reset gate after the recurrent product, as cuDNN does; ONNX calls that linear_before_reset
        attributes = {"linear_before_reset": 1} if operator == "GRU" else {}
        finals = [f"{kind}_{layer}_end" for kind in kinds]
        graph.add(operator, inputs, f"{name}_directions", finals, hidden_size=config.hidden_size, **attributes)
        rows = graph.add("Squeeze", [f"{name}_directions", graph.constant([1], "axis_1")], name)
    ends = [graph.add("Squeeze", [f"{s}_end", graph.constant([0], "axis_0")], f"{s}_next") for s in states]
    return rows, ends
