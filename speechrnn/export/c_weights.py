"""An ONNX file of ours in, its weights as the C program wants them out, checked against the network of its card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from speechrnn.errors import ConfigError, ModelError
from speechrnn.model import Model
from speechrnn.training.config import HOPS_PER_BLOCK, FrontEndConfig, NetworkConfig
from speechrnn.training.front_end import FrontEnd
from speechrnn.training.network import CausalConvolution, Network

GATES = {"gru": 3, "lstm": 4, "rnn": 1}
OPERATORS = {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN"}
MOST_LABELS = 256  # in a byte
LEVELS = 127  # of an 8-bit weight, on each side of zero


@dataclass(frozen=True)
class Matrix:
    """y = W x: weights float32 [outputs, inputs]; where the file holds int8, their scale [outputs] too."""

    weights: np.ndarray
    scales: np.ndarray | None = None

    def quantised(self) -> tuple[np.ndarray, np.ndarray]:
        """int8 [outputs, inputs] and a scale for each output; exactly what the file holds if it holds int8."""
        scales = np.abs(self.weights).max(axis=1) / LEVELS if self.scales is None else self.scales
        scales = np.where(scales > 0.0, scales, 1.0).astype(np.float32)
        return np.round(self.weights / scales[:, None]).clip(-LEVELS - 1, LEVELS).astype(np.int8), scales


@dataclass(frozen=True)
class Convolution:
    """A layer and its numbers: taps [rows, width, channels], mix from channels to channels (not in the first)."""

    layer: CausalConvolution
    stride: int  # over bands
    taps: np.ndarray
    mix: Matrix | None
    bias: np.ndarray


@dataclass(frozen=True)
class Cell:
    """A recurrent layer, its gates one after the other in ONNX's order."""

    input: Matrix
    hidden: Matrix
    input_bias: np.ndarray
    hidden_bias: np.ndarray


@dataclass(frozen=True)
class Weights:
    """Everything that the C program holds as constants, besides the decision's settings."""

    front_end: FrontEndConfig
    network: NetworkConfig
    window: np.ndarray  # [window_length]
    mel_bands: np.ndarray  # [bins, n_mels]
    band_scale: np.ndarray
    band_bias: np.ndarray
    convolutions: list[Convolution]
    features: Matrix
    features_bias: np.ndarray
    cells: list[Cell]
    output: Matrix
    output_bias: np.ndarray

    @property
    def is_int8(self) -> bool:
        """Does the file hold int8?"""
        return self.output.scales is not None


class _Graph:
    """Looks weights up by name; says which file when one is missing or different from what the card says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        graph = onnx.load(path).graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes = {node.output[0]: node for node in graph.node}

    def refuse(self, what: str) -> ModelError:
        return ModelError(f"{self.path}: {what}: export it again with speechrnn export")

    def attributes(self, output: str, operator: str) -> dict[str, object]:
        """Of the node that gives `output`."""
        node = self._nodes.get(output)
        if node is None or node.op_type != operator:
            raise self.refuse(f"its graph has no {operator} {output}")
        return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

    def weight(self, name: str, *shape: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A weight float32 [shape] and, if the file holds it as int8, the scale of each of its values [shape]."""
        scales = None
        values, scales = (self._constant(name), None) if name in self._constants else self._computed(name)
        if values.shape != shape or not np.isfinite(values).all():
            raise self.refuse(f"its weight {name} isn't {list(shape)} finite numbers, as its model card says")
        return values.astype(np.float32), scales

    def values(self, name: str, *shape: int) -> np.ndarray:
        return self.weight(name, *shape)[0]

    def _constant(self, name: str) -> np.ndarray:
        if name not in self._constants:
            raise self.refuse(f"its graph has no weight {name}")
        return numpy_helper.to_array(self._constants[name])

    def _computed(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """A weight that is stored smaller: cast from float16, or int8 times a scale, and that scale broadcast.

        The product is a Mul behind a Cast, or a DequantizeLinear (ONNX, opset 17), whose scale has one axis or none.
        """
        node = self._nodes.get(name)
        if node is None or node.op_type not in ("Cast", "Mul", "DequantizeLinear"):
            raise self.refuse(f"its graph has no weight {name}")
        if node.op_type == "Cast":
            return self._constant(node.input[0]), None
        before = self._nodes.get(node.input[0])
        source = before.input[0] if before is not None and before.op_type == "Cast" else node.input[0]
        integers, scale, *zero = (self._constant(input) for input in (source, *node.input[1:]))
        if integers.dtype != np.int8 or any(z.any() for z in zero):
            raise self.refuse(f"its weight {name} isn't int8 around zero")
        if node.op_type == "DequantizeLinear" and scale.ndim:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            scale = scale.reshape([-1 if i == axis % integers.ndim else 1 for i in range(integers.ndim)])
        try:
            scale = np.broadcast_to(scale, integers.shape).astype(np.float32)
        except ValueError:
            raise self.refuse(f"its weight {name} has a scale of another shape") from None
        return integers * scale, scale


def read(model: Model) -> Weights:
    """The weights of an ONNX file and the front end of its card.

    Raises
    ------
    ModelError
        if the graph isn't the network that the card describes, or is one that the C program can't compute
    """
    card, graph = model.card, _Graph(model.path)
    card.recurrent_stack(str(model.path))  # says which network it is, and one that a machine can hold
    if len(card.labels) > MOST_LABELS:
        raise ModelError(f"{model.path}: has {len(card.labels)} labels: the C program counts to {MOST_LABELS}")
    try:
        config, front = NetworkConfig(**card.network), FrontEndConfig(**card.front_end)
        with torch.device("meta"):  # its shapes are wanted, not its weights, however many the card says there are
            network = Network(config, front, len(card.labels))
        front_end = FrontEnd(front)
    except (TypeError, ValueError, ConfigError, RuntimeError):
        raise graph.refuse("its model card describes no network that this release knows") from None
    if front.n_fft < 4 or front.n_fft & (front.n_fft - 1):
        raise ModelError(f"{model.path}: its n_fft is {front.n_fft}: the C program needs a power of two")
    if card.block_length != front.block_length:
        raise graph.refuse(f"its blocks of {card.block_length} samples aren't {HOPS_PER_BLOCK} hops")

    convolutions, bands = [], front.n_mels
    for i, layer in enumerate(network.convolutions):
        assert isinstance(layer, CausalConvolution)
        convolutions.append(_convolution(graph, layer, f"convolution_{i}"))
        bands = layer.output_bands
    weight, scale = graph.weight("features_weight", config.features, config.channels, 1, bands)
    inputs, cells = config.features, []
    for i in range(config.layers):
        cells.append(_cell(graph, config, f"{config.cell}_{i}", inputs))
        inputs = config.hidden_size
    output = graph.weight("output_weight", config.hidden_size, len(card.labels))
    return Weights(
        front_end=front,
        network=config,
        window=front_end.window.numpy(),
        mel_bands=front_end.bands.numpy(),
        band_scale=graph.values("band_scale", front.n_mels),
        band_bias=graph.values("band_bias", front.n_mels),
        convolutions=convolutions,
        features=_matrix(weight, scale, (0, 3, 1, 2)),  # a row of the C program is [bands][channels]
        features_bias=graph.values("features_bias", config.features),
        cells=cells,
        output=_matrix(*output, (1, 0)),
        output_bias=graph.values("output_bias", len(card.labels)),
    )


def _matrix(values: np.ndarray, scales: np.ndarray | None, axes: tuple[int, ...]) -> Matrix:
    """Weights with the outputs first and all inputs, in the order of `axes`, after them."""

    def rows(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(axes).reshape(array.shape[axes[0]], -1))

    if scales is None:
        return Matrix(rows(values))
    each = rows(scales)
    return Matrix(rows(values), each[:, 0] if (each == each[:, :1]).all() else None)


def _convolution(graph: _Graph, layer: CausalConvolution, name: str) -> Convolution:
    """Its weights, once the graph has the strides and the kernel that the network has."""
    inputs, outputs = layer.tail_shape[-1], layer.norm.num_features
    operators = {"depthwise": layer.depthwise, "mix": layer.mix}
    used = {part: operator for part, operator in operators.items() if isinstance(operator, torch.nn.Conv2d)}
    for part, operator in used.items():
        found = graph.attributes(f"{name}_{part}", "Conv")
        around = operator.kernel_size[1] // 2
        expected = {"kernel_shape": [*operator.kernel_size], "strides": [*operator.stride], "group": operator.groups}
        if found != expected | {"pads": [0, around, 0, around]}:
            raise graph.refuse(f"its {name}_{part} isn't the convolution of its model card")
    first, operator = next(iter(used.items()))  # the one that looks around; the other mixes channels
    (rows, width), bias = operator.kernel_size, graph.values(f"{name}_bias", outputs)
    taps = graph.values(f"{name}_{first}_weight", operator.out_channels, 1, rows, width)[:, 0].transpose(1, 2, 0)
    mix = None
    if first != "mix":
        mix = _matrix(*graph.weight(f"{name}_mix_weight", outputs, inputs, 1, 1), (0, 1, 2, 3))
    return Convolution(layer, operator.stride[1], taps, mix, bias)


def _cell(graph: _Graph, config: NetworkConfig, name: str, inputs: int) -> Cell:
    found = graph.attributes(f"{name}_directions", OPERATORS[config.cell])
    known = {"hidden_size": config.hidden_size} | ({"linear_before_reset": 1} if config.cell == "gru" else {})
    if found != known:
        raise graph.refuse(f"its {name} isn't the {OPERATORS[config.cell]} that the C program computes")
    size = GATES[config.cell] * config.hidden_size
    bias = graph.values(f"{name}_B", 1, 2 * size)[0]
    return Cell(
        _matrix(*graph.weight(f"{name}_W", 1, size, inputs), (1, 0, 2)),
        _matrix(*graph.weight(f"{name}_R", 1, size, config.hidden_size), (1, 0, 2)),
        bias[:size],
        bias[size:],
    )
