"""Store the weights of an ONNX file of ours as int8 or float16; the computation stays in float32.

Inputs, outputs, state and card stay what they are. Weight `X` of the network is stored as `X_int8` and `X_scale`, one
scale for each output channel, and a Cast and a Mul in front give `X = X_int8 * X_scale` back; as float16 it is
`X_float16` and a Cast. Biases and the front end, whose constants need their precision, stay as they are.

Why not otherwise: onnxruntime computes Cast and Mul once, when it loads the file, and a block costs what it cost
before. DequantizeLinear it leaves in place for integer kernels, which the recurrent operators don't have: a block then
took 1.57 times as long. Integer products (MatMulInteger in a Scan over the blocks) took 1.10 times as long for a
block and 1.69 times for a clip, and kept fewer labels (99.86 % against 99.93 %).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from speechrnn.card import Card, file_content
from speechrnn.errors import ModelError
from speechrnn.export.comparison import Comparison, compare, labelled_sounds
from speechrnn.export.precision import Weights
from speechrnn.model import Model

LEAST_AGREEMENT = 0.995  # share of the clips that keep their label; below that nothing is written
LARGEST = 127  # symmetric, without -128: no zero point is needed
CHANNEL_AXES = {  # of the weights that are stored smaller: their output channels
    r"convolution_\d+_(depthwise|mix)_weight|features_weight": 0,  # [out, in, time, bands]
    r"(gru|lstm|rnn)_\d+_[WR]": 1,  # [direction, gates * hidden, in]
    r"output_weight": 1,  # [in, labels]
}


@dataclass(frozen=True)
class Export:
    """A file that may be written: its content, and how close it is to the file that it comes from."""

    content: bytes
    comparison: Comparison


def channel_axis(name: str) -> int | None:
    """Along which axis of this initializer the output channels are; None if it stays as it is."""
    return next((axis for pattern, axis in CHANNEL_AXES.items() if re.fullmatch(pattern, name)), None)


def quantize(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 -> (int8 in [-127, 127] of the same shape, float32 scale that broadcasts to it); product = the weight."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = (np.abs(weight).max(axis=others, keepdims=True) / LARGEST).astype(np.float32)
    scale[scale == 0.0] = 1.0
    return np.clip(np.rint(weight / scale), -LARGEST, LARGEST).astype(np.int8), scale


def smaller(model: Model, weights: Weights) -> onnx.ModelProto:
    """The graph of a model with its network's weights as `weights`; the card is still the old one.

    Raises
    ------
    ModelError
        if the weights aren't where ours are, aren't finite float32, or were stored smaller before
    """
    proto = onnx.load_from_string(model.content)
    _check_weights(model, proto)
    nodes, stored = [], []
    for tensor in proto.graph.initializer:
        axis = channel_axis(tensor.name)
        if axis is None:
            stored.append(tensor)
            continue
        name, value = tensor.name, numpy_helper.to_array(tensor)
        small = f"{name}_{weights.value}"
        if weights is Weights.float16:
            stored.append(numpy_helper.from_array(value.astype(np.float16), small))
            nodes.append(helper.make_node("Cast", [small], [name], name=name, to=TensorProto.FLOAT))
        else:
            integers, scale = quantize(value, axis)
            stored += [numpy_helper.from_array(integers, small), numpy_helper.from_array(scale, f"{name}_scale")]
            nodes.append(helper.make_node("Cast", [small], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], name=name))
    nodes += proto.graph.node
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(stored)
    proto.graph.node.extend(nodes)
    return proto


def _check_weights(model: Model, proto: onnx.ModelProto) -> None:
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    suffixes = tuple(f"_{kind}" for kind in Weights)
    stored = (name.rpartition("_")[0] for name in tensors if name.endswith(suffixes))
    if model.card.figures.get("weights") in list(Weights) or any(channel_axis(name) is not None for name in stored):
        raise ModelError(f"{model.name}: its weights are stored smaller already: start from the float32 file")
    cell, _, _, layers = model.card.recurrent_stack(model.name)
    expected = {f"{cell}_{layer}_{kind}" for layer in range(layers) for kind in "WR"}
    found = {name for name in tensors if channel_axis(name) is not None}
    recurrent = {name for name in found if name.endswith(("_W", "_R"))}
    if recurrent != expected or not {"convolution_0_mix_weight", "features_weight", "output_weight"} <= found:
        raise ModelError(f"{model.name}: its weights aren't those that its model card speaks of: export it again")
    for name in found:
        value = numpy_helper.to_array(tensors[name])
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise ModelError(f"{model.name}: {name} holds {value.dtype}, or no finite numbers: export it again")


def exports(
    model: Model, kinds: Sequence[Weights], clips: Path | None = None, partition: str | None = None
) -> list[Export]:
    """Each kind of weights, compared with the model that it comes from on real clips.

    `clips` is a folder as `speechrnn evaluate` takes it; without one, the clips are those of `examples/`, and variants
    and synthetic sound beside them.

    Raises
    ------
    InputError
        if the model or the clips are no good, or fewer than LEAST_AGREEMENT of the clips keep their label
    """
    graphs = [smaller(model, kind) for kind in kinds]
    sounds = labelled_sounds(model, clips, partition)
    try:
        stored = [Model(proto.SerializeToString(), name=model.name) for proto in graphs]
    except ModelError:  # it speaks of bytes that nobody knows
        raise ModelError(f"{model.name}: stored smaller it gives no probabilities: nothing is written") from None
    comparisons = compare(model, stored, sounds)
    made = []
    for kind, proto, comparison in zip(kinds, graphs, comparisons, strict=True):
        if not comparison.agreement >= LEAST_AGREEMENT:
            raise ModelError(
                f"{model.name}: as {kind.value} it gives {comparison.same} of {comparison.clips} clips the same label, "
                f"{LEAST_AGREEMENT:.1%} are needed: nothing is written"
            )
        card = replace(model.card, figures=_figures(model.card, kind, comparison, clips is not None, partition))
        made.append(Export(file_content(proto, card, model.name), comparison))
    return made


def _figures(card: Card, kind: Weights, comparison: Comparison, clips: bool, partition: str | None) -> dict:
    """Figures of the new file; those measured on the file that it comes from stand under `float32`."""
    own = {key: value for key, value in card.figures.items() if key == "parameters"}
    own |= {
        "weights": kind.value,
        "label_agreement": round(comparison.agreement, 5),
        "largest_probability_error": round(comparison.largest_error, 5),
        "compared_on": f"{comparison.clips} clips",
    }
    if clips and comparison.accuracy is not None:
        own[f"{partition}_accuracy" if partition else "accuracy"] = round(comparison.accuracy, 5)
    measured = {key: value for key, value in card.figures.items() if key not in own or "accuracy" in key}
    return own | ({"float32": measured} if measured else {})
