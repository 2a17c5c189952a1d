"""Write a trained recognizer as an ONNX graph, node by node from its weights.

No exporter stands between: the graph has only what is needed, its batch and time axes are free, and a new torch can't
change it. `to_onnx` compares both before a file is written. Batch normalisation is folded into the convolutions.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from speechrnn.export.front_end import mel_power
from speechrnn.export.nodes import IR_VERSION, OPSET, Graph
from speechrnn.training.from_onnx import RECURRENT
from speechrnn.training.network import CausalConvolution, Network, Recognizer


def build(model: Recognizer) -> onnx.ModelProto:
    """The stateful waveform graph: `audio`, `state` -> `probabilities`, `next_state`."""
    graph, network = Graph(), model.network
    assert isinstance(network, Network)  # the only kind that streams
    names = [f"tail_{i}" for i in range(len(network.convolutions))]
    memory = _recurrent_states(model)
    hidden_sizes = [network.config.hidden_size] * len(memory)
    sizes = [model.front_end.tail_length, *network.state_sizes[:-1], *hidden_sizes]
    starts = [f"{state}_row" for state in memory]
    audio_tail, *parts = graph.split("state", sizes, ["audio_tail", *names, *starts], axis=1)
    tails = parts[: len(names)]

    frames, next_audio_tail = _front_end(graph, model, network.input_norm, audio_tail)
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


def _front_end(graph: Graph, model: Recognizer, norm: torch.nn.BatchNorm1d, tail: str) -> tuple[str, str]:
    """Normalised log-mel frames [batch, 1, hops, n_mels] and the next sound tail."""
    c, front_end = model.config.front_end, model.front_end
    sound = graph.add("Concat", [tail, "audio"], "heard", axis=1)  # the name stands in shipped files
    next_tail = graph.last(sound, front_end.tail_length, 1, "next_audio_tail")
    mel = mel_power(graph, sound, front_end)
    offset = graph.add("Add", [mel, graph.scalar(c.log_offset, "log_offset")], "mel_offset")
    log_mel = graph.add("Log", [offset], "log_mel")
    scale, bias = _affine(norm)
    scaled = graph.add("Mul", [log_mel, graph.weight(scale, "band_scale")], "log_mel_scaled")
    return graph.add("Add", [scaled, graph.weight(bias, "band_bias")], "frames"), next_tail


def _affine(norm: torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch normalisation with fixed statistics is y = scale * x + bias; in double precision, to lose nothing."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _convolution(graph: Graph, layer: CausalConvolution, rows: str, tail: str, name: str) -> tuple[str, str]:
    """[batch, inputs, time, bands] after a flat tail [batch, past * bands * inputs] -> output rows, next flat tail.

    Time comes first in the tail, and channels last: so tail and rows are joined, and the next tail is cut off, each in
    one piece. onnxruntime's convolutions take in and give out channels last at no cost.
    """
    past, bands, channels = layer.tail_shape
    fresh = rows if channels == 1 else graph.add("Transpose", [rows], f"{name}_channels_last", perm=[0, 2, 3, 1])
    fresh = graph.reshape(fresh, [0, -1], f"{name}_fresh")
    flat = graph.add("Concat", [tail, fresh], f"{name}_flat", axis=1)
    next_tail = graph.last(flat, past * bands * channels, 1, f"{name}_next_tail")
    if channels == 1:
        out = graph.reshape(flat, [0, 1, -1, bands], f"{name}_heard")
    else:
        out = graph.reshape(flat, [0, -1, bands, channels], f"{name}_heard_channels_last")
        out = graph.add("Transpose", [out], f"{name}_heard", perm=[0, 3, 1, 2])
    scale, bias = _affine(layer.norm)
    if isinstance(layer.depthwise, torch.nn.Conv2d):
        depthwise = graph.weight(layer.depthwise.weight, f"{name}_depthwise_weight")
        out = _conv2d(graph, layer.depthwise, [out, depthwise], f"{name}_depthwise")
    weight = graph.weight(layer.mix.weight.double() * scale[:, None, None, None], f"{name}_mix_weight")
    if layer.residual:  # onnxruntime is quicker with more inputs of one product than with a sum behind it
        out = graph.add("Concat", [out, rows], f"{name}_inputs", axis=1)
        one = graph.constant(np.eye(channels, dtype=np.int8)[:, :, None, None], f"identity_{channels}")
        one = graph.add("Cast", [one], f"{name}_identity", to=TensorProto.FLOAT)
        weight = graph.add("Concat", [weight, one], f"{name}_mix_weights", axis=1)
    inputs = [out, weight, graph.weight(bias, f"{name}_bias")]
    return graph.add("Relu", [_conv2d(graph, layer.mix, inputs, f"{name}_mix")], name), next_tail


def _conv2d(graph: Graph, operator: torch.nn.Conv2d, inputs: Sequence[str], output: str) -> str:
    around = operator.kernel_size[1] // 2  # in frequency; in time the tail stands in front
    return graph.add(
        "Conv", inputs, output, strides=list(operator.stride), group=operator.groups,
        kernel_shape=list(operator.kernel_size), pads=[0, around, 0, around],
    )  # fmt: skip


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
