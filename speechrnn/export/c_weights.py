"""Read the weights of an ONNX file of ours for the C program, checked against the network of its card."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from speechrnn.errors import ConfigError, ModelError
from speechrnn.model import Model
from speechrnn.training.config import HOPS_PER_BLOCK, FrontEndConfig, NetworkConfig

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
    """A layer's shape and its numbers: taps [rows, width, channels], mix to other channels (not in the first)."""

    inputs: int  # channels
    outputs: int
    past: int  # input rows that the next output still needs
    bands: int
    output_bands: int
    stride: int  # over bands
    taps: np.ndarray
    mix: Matrix | None
    bias: np.ndarray

    @property
    def residual(self) -> bool:
        """Is the input added to the output?"""
        return self.inputs == self.outputs and self.stride == 1


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

    def __init__(self, model: Model) -> None:
        self.name = model.name
        graph = onnx.load_from_string(model.content).graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes = {node.output[0]: node for node in graph.node}

    def refuse(self, what: str) -> ModelError:
        return ModelError(f"{self.name}: {what}: export it again with speechrnn export")

    def attributes(self, output: str, operator: str) -> dict[str, object]:
        """Of the node that gives `output`."""
        node = self._nodes.get(output)
        if node is None or node.op_type != operator:
            raise self.refuse(f"its graph has no {operator} {output}")
        return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}

    def weight(self, name: str, *shape: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A weight float32 [shape] and, if the file holds it as int8, the scale of each of its values [shape]."""
        scales = None
        values, scales = (self.constant(name), None) if name in self._constants else self._computed(name)
        if values.shape != shape or not np.isfinite(values).all():
            raise self.refuse(f"its weight {name} isn't {list(shape)} finite numbers, as its model card says")
        return values.astype(np.float32), scales

    def values(self, name: str, *shape: int) -> np.ndarray:
        return self.weight(name, *shape)[0]

    def constant(self, name: str) -> np.ndarray:
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
            return self.constant(node.input[0]), None
        before = self._nodes.get(node.input[0])
        source = before.input[0] if before is not None and before.op_type == "Cast" else node.input[0]
        integers, scale, *zero = (self.constant(input) for input in (source, *node.input[1:]))
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
    card, graph = model.card, _Graph(model)
    card.recurrent_stack(model.name)  # says which network it is, and one that a machine can hold
    if len(card.labels) > MOST_LABELS:
        raise ModelError(f"{model.name}: has {len(card.labels)} labels: the C program counts to {MOST_LABELS}")
    try:
        config, front = NetworkConfig(**card.network), FrontEndConfig(**card.front_end)
    except (TypeError, ConfigError):
        raise graph.refuse("its model card describes no network that this release knows") from None
    sizes = front.n_fft, front.hop_length, front.window_length, front.n_mels, config.first_channels, config.channels
    if any(type(size) is not int or size < 1 for size in sizes) or type(config.residual_layers) is not int:
        raise graph.refuse("its model card describes no network that this release knows")
    if front.n_fft < 4 or front.n_fft & (front.n_fft - 1):
        raise ModelError(f"{model.name}: its n_fft is {front.n_fft}: the C program needs a power of two")
    if card.block_length != front.block_length:
        raise graph.refuse(f"its blocks of {card.block_length} samples aren't {HOPS_PER_BLOCK} hops")

    window, mel_bands = _front_end(graph, front)
    convolutions, bands, inputs = [], front.n_mels, 1
    for i in range(2 + config.residual_layers):
        kernel, stride = (5, (HOPS_PER_BLOCK, 2)) if i == 0 else (3, (1, 2 if i == 1 else 1))
        outputs = config.first_channels if i == 0 else config.channels
        convolutions.append(_convolution(graph, f"convolution_{i}", inputs, outputs, bands, kernel, stride))
        bands, inputs = convolutions[-1].output_bands, outputs
    weight, scale = graph.weight("features_weight", config.features, config.channels, 1, bands)
    inputs, cells = config.features, []
    for i in range(config.layers):
        cells.append(_cell(graph, config, f"{config.cell}_{i}", inputs))
        inputs = config.hidden_size
    output = graph.weight("output_weight", config.hidden_size, len(card.labels))
    return Weights(
        front_end=front,
        network=config,
        window=window,
        mel_bands=mel_bands,
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


def _front_end(graph: _Graph, front: FrontEndConfig) -> tuple[np.ndarray, np.ndarray]:
    """The window [window_length] and the mel bands [bins, n_mels] that `speechrnn.export.front_end` has put there."""
    windows = graph.constant("windows")
    if windows.ndim != 3 or windows[-1].size < front.window_length:
        raise graph.refuse("its window isn't that of its model card")
    few = windows.shape[-1]  # columns of the Fourier transform in two steps
    many = front.n_fft // few
    frequencies = np.arange(many // 2 + 1)[:, None] + many * np.arange(few)
    bins = np.minimum(frequencies, front.n_fft - frequencies).ravel()
    places, values = (graph.constant(f"mel_bands_of_power_{part}") for part in ("places", "values"))
    if len(places) != len(values) or places.max(initial=0) >= len(bins) * front.n_mels:
        raise graph.refuse("its mel bands aren't those of its model card")
    bands = np.zeros((front.n_fft // 2 + 1, front.n_mels), np.float32)
    bands[bins[places // front.n_mels], places % front.n_mels] = values
    return windows[-1].ravel()[-front.window_length :], bands


def _convolution(
    graph: _Graph, name: str, inputs: int, outputs: int, bands: int, kernel: int, stride: tuple[int, int]
) -> Convolution:
    """Its weights, once the graph has the strides and the kernel that the network has."""
    around = kernel // 2
    first = "mix" if name == "convolution_0" else "depthwise"  # the one that looks around; the other mixes channels
    shape = {"kernel_shape": [kernel, kernel], "pads": [0, around, 0, around], "strides": [*stride]}
    alone = {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1], "group": 1}
    expected = {first: shape | {"group": inputs}} | ({"mix": alone} if first != "mix" else {})
    for part, attributes in expected.items():
        if graph.attributes(f"{name}_{part}", "Conv") != attributes:
            raise graph.refuse(f"its {name}_{part} isn't the convolution of its model card")
    looking = inputs if first == "depthwise" else outputs
    taps = graph.values(f"{name}_{first}_weight", looking, 1, kernel, kernel)[:, 0].transpose(1, 2, 0)
    mix = None
    if first != "mix":
        mix = _matrix(*graph.weight(f"{name}_mix_weight", outputs, inputs, 1, 1), (0, 1, 2, 3))
    bias = graph.values(f"{name}_bias", outputs)
    output_bands = (bands - 1) // stride[1] + 1
    return Convolution(inputs, outputs, kernel - stride[0], bands, output_bands, stride[1], taps, mix, bias)


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
