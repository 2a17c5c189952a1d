"""A trained recognizer in, the same computation as an ONNX graph out, built node by node from its weights.

No exporter stands between: the graph has only what is needed, its batch and time axes are free, and a new torch can't
change it. `export.to_onnx` compares both before a file is written. Batch normalisation is folded into the convolutions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from speechrnn.training.network import CausalConvolution, Recognizer

OPSET = 17  # the first with STFT
IR_VERSION = 8  # of the same age
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
    sizes = [model.front_end.tail_length, *network.state_sizes]
    audio_tail, *tails, hidden, pool = graph.split("state", sizes, ["audio_tail", *names, "hidden", "pool"], axis=1)

    frames, next_audio_tail = _front_end(graph, model, audio_tail)
    next_state = [next_audio_tail]
    rows = graph.add("Unsqueeze", [frames, graph.constant([1], "axis_1")], "rows")
    for i, (convolution, tail) in enumerate(zip(network.convolutions, tails, strict=True)):
        assert isinstance(convolution, CausalConvolution)
        rows, next_tail = _convolution(graph, convolution, rows, tail, f"convolution_{i}")
        next_state.append(next_tail)
    # [batch, channels, blocks, bands] -> [blocks, batch, channels * bands]: ONNX wants time first, so it stays first
    rows = graph.add("Transpose", [rows], "blocks_first", perm=[2, 0, 1, 3])
    rows = graph.reshape(rows, [0, 0, -1], "block_rows")
    features = graph.add(
        "MatMul", [rows, graph.weight(network.features.weight.T, "features_weight")], "features_product"
    )
    features = graph.add("Add", [features, graph.weight(network.features.bias, "features_bias")], "features_sum")
    features = graph.add("Relu", [features], "features")
    outputs, next_hidden = _recurrent(graph, model, features, hidden)
    logits, next_pool = _pooling(graph, model, outputs, pool)
    softmax = graph.add("Softmax", [logits], "posteriors", axis=-1)
    graph.add("Transpose", [softmax], "probabilities", perm=[1, 0, 2])
    graph.add("Concat", [*next_state, next_hidden, next_pool], "next_state", axis=1)

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
    """Normalised log-mel frames [batch, hops, n_mels] and the next sound tail."""
    c, front_end = model.config.front_end, model.front_end
    heard = graph.add("Concat", [tail, "audio"], "heard", axis=1)
    next_tail = graph.last(heard, front_end.tail_length, 1, "next_audio_tail")
    # The STFT operator has no window shorter than its transform: zeros in front of the window, and of the sound.
    missing = c.n_fft - c.window_length
    padded = graph.add("Pad", [heard, graph.constant([0, missing, 0, 0], "front_padding")], "padded")
    signal = graph.add("Unsqueeze", [padded, graph.constant([2], "axis_2")], "signal")
    # In double precision: beside a loud tone, float32 rounding is as large as what quiet bands hold, and the logarithm
    # makes that visible.
    signal = graph.add("Cast", [signal], "signal_double", to=TensorProto.DOUBLE)
    window = graph.constant(torch.nn.functional.pad(front_end.window, (missing, 0)).double().numpy(), "window")
    hop = graph.constant(np.array(c.hop_length, np.int64), "hop_length")
    spectrum = graph.add("STFT", [signal, hop, window], "spectrum", onesided=1)  # [batch, hops, bins, 2]
    square = graph.add("ReduceSumSquare", [spectrum], "power", axes=[3], keepdims=0)
    square = graph.add("Cast", [square], "power_single", to=TensorProto.FLOAT)
    mel = graph.add("MatMul", [square, graph.weight(front_end.bands, "mel_bands")], "mel_power")
    offset = graph.add("Add", [mel, graph.scalar(c.log_offset, "log_offset")], "mel_offset")
    log_mel = graph.add("Log", [offset], "log_mel")
    scale, bias = _affine(model.network.input_norm)
    scaled = graph.add("Mul", [log_mel, graph.weight(scale, "band_scale")], "log_mel_scaled")
    return graph.add("Add", [scaled, graph.weight(bias, "band_bias")], "frames"), next_tail


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


def _recurrent(graph: Graph, model: Recognizer, features: str, flat: str) -> tuple[str, str]:
    """The recurrent stack over [blocks, batch, features]; the flat state has a row of `hidden_size` a layer."""
    config, cell = model.config.network, model.network.cell
    operator, gates = RECURRENT[config.cell]
    kinds = ["hidden", "memory"] if config.cell == "lstm" else ["hidden"]
    states = [f"{kind}_{layer}" for kind in kinds for layer in range(config.layers)]
    starts = graph.split(flat, [config.hidden_size] * len(states), [f"{state}_row" for state in states], axis=1)
    start = {
        state: graph.add("Unsqueeze", [row, graph.constant([0], "axis_0")], f"{state}_start")
        for state, row in zip(states, starts, strict=True)
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
    return rows, graph.add("Concat", ends, "next_hidden", axis=1)


def _pooling(graph: Graph, model: Recognizer, outputs: str, pool: str) -> tuple[str, str]:
    """Leaky attention as a linear recurrence: an RNN whose activation is the identity."""
    network, count = model.network, len(model.labels)
    votes = graph.add("MatMul", [outputs, graph.weight(network.vote.weight.T, "vote_weight")], "vote_product")
    votes = graph.add("Add", [votes, graph.weight(network.vote.bias, "vote_bias")], "votes")
    # sigmoid(x) = 1 / (1 + exp(-x)): small weights must be right relatively, and onnxruntime's Sigmoid isn't
    gate = graph.add("MatMul", [outputs, graph.weight(-network.attention.weight.T, "attention_weight")], "gate_product")
    gate = graph.add("Add", [gate, graph.weight(-network.attention.bias, "attention_bias")], "gate_sum")
    gate = graph.add("Exp", [gate], "gate_exponential")
    gate = graph.add("Add", [gate, graph.scalar(1.0, "one")], "gate_denominator")
    gate = graph.add("Reciprocal", [gate], "gate")
    gate = graph.add("Add", [gate, graph.scalar(network.MIN_WEIGHT, "min_weight")], "attention")
    weighted = graph.add("Mul", [votes, gate], "weighted_votes")
    both = graph.add("Concat", [weighted, gate], "pool_input", axis=2)
    unit = torch.eye(count + 1)[None]
    start = graph.add("Unsqueeze", [pool, graph.constant([0], "axis_0")], "pool_start")
    inputs = [both, graph.weight(unit, "pool_W"), graph.weight(unit * network.leak, "pool_R"), "", "", start]
    graph.add(
        "RNN", inputs, "pool_directions", ["pool_end"], hidden_size=count + 1, activations=["Affine"],
        activation_alpha=[1.0], activation_beta=[0.0],
    )  # fmt: skip
    memory = graph.add("Squeeze", ["pool_directions", graph.constant([1], "axis_1")], "pool_memory")
    numerator, denominator = graph.split(memory, [count, 1], ["pooled_votes", "pooled_weight"], axis=2)
    next_pool = graph.add("Squeeze", ["pool_end", graph.constant([0], "axis_0")], "next_pool")
    return graph.add("Div", [numerator, denominator], "logits"), next_pool
