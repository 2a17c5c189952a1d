"""ONNX graphs: a shipped model with damaged bytes, and with nodes, shapes, weights and attributes changed.

A model that loads must be able to hear a clip and a stream.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from hypothesis import strategies as st

import speechrnn

from .contract import Case, check_posteriors
from .mutations import damaged

SOUND = (0.1 * np.random.default_rng(0).standard_normal(3_300)).astype(np.float32)
SIZES = (0, 1, 2, 3, 80, 1_000, 1 << 20, 1 << 31, 1 << 40, -1)
OPERATORS = ("Identity", "Relu", "Neg", "Loop", "If", "Scan", "GRU", "Reshape", "Expand", "Tile", "Range", "Nix")
TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64, onnx.TensorProto.STRING, 0, 99)


def prepare(folder: Path) -> None:
    global CONTENT, WEIGHTLESS
    CONTENT = Path(speechrnn.load("gru-12-small").path).read_bytes()
    proto = onnx.load_from_string(CONTENT)
    # where the graph itself lies: the weights are long and damage to them mostly goes unnoticed
    WEIGHTLESS = [i for i in range(len(CONTENT)) if i < 2_000 or i > len(CONTENT) - 6_000]
    assert proto.graph.node


def remove_node(rng: random.Random, proto: onnx.ModelProto) -> None:
    del proto.graph.node[rng.randrange(len(proto.graph.node))]


def move_node(rng: random.Random, proto: onnx.ModelProto) -> None:
    nodes = list(proto.graph.node)
    nodes.insert(rng.randrange(len(nodes)), nodes.pop(rng.randrange(len(nodes))))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def change_operator(rng: random.Random, proto: onnx.ModelProto) -> None:
    node = rng.choice(proto.graph.node)
    node.op_type = rng.choice((*OPERATORS, rng.choice(proto.graph.node).op_type))
    if rng.random() < 0.1:
        node.domain = rng.choice(("com.microsoft", "ai.onnx.ml", "\0"))


def rename(rng: random.Random, proto: onnx.ModelProto) -> None:
    node = rng.choice(proto.graph.node)
    names = rng.choice([node.input, node.output])
    known = [name for other in proto.graph.node for name in (*other.input, *other.output)]
    if names:
        names[rng.randrange(len(names))] = rng.choice((*rng.choices(known, k=3), "", "nowhere"))


def change_attribute(rng: random.Random, proto: onnx.ModelProto) -> None:
    with_some = [node for node in proto.graph.node if node.attribute]
    if not with_some:
        return
    attributes = rng.choice(with_some).attribute
    attribute = rng.choice(attributes)
    what = rng.randrange(4)
    if what == 0:
        attributes.remove(attribute)
    elif what == 1:
        attribute.i = rng.choice(SIZES)
    elif what == 2 and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(SIZES)
    else:
        attribute.type = rng.randrange(1, 9)


def change_weights(rng: random.Random, proto: onnx.ModelProto) -> None:
    weights = rng.choice(proto.graph.initializer)
    what = rng.randrange(5)
    if what == 0:
        proto.graph.initializer.remove(weights)
    elif what == 1 and weights.dims:
        weights.dims[rng.randrange(len(weights.dims))] = rng.choice(SIZES)
    elif what == 2:
        weights.data_type = rng.choice(TYPES)
    elif what == 3 and weights.raw_data:
        values = rng.choice((np.nan, np.inf, 1e38, 0.0, -1.0))
        kind = np.int64 if weights.data_type == onnx.TensorProto.INT64 else np.float32
        count = len(weights.raw_data) // np.dtype(kind).itemsize
        filling = np.full(count, rng.choice(SIZES) if kind == np.int64 else values, kind)
        weights.raw_data = filling.tobytes().ljust(len(weights.raw_data), b"\0")
    else:
        weights.name = rng.choice(proto.graph.initializer).name


def change_interface(rng: random.Random, proto: onnx.ModelProto) -> None:
    end = rng.choice([*proto.graph.input, *proto.graph.output])
    tensor = end.type.tensor_type
    what = rng.randrange(4)
    if what == 0:
        end.name = rng.choice(("audio", "state", "probabilities", "next_state", "other"))
    elif what == 1:
        tensor.elem_type = rng.choice(TYPES)
    elif what == 2 and tensor.shape.dim:
        rng.choice(tensor.shape.dim).dim_value = rng.choice(SIZES)
    elif tensor.shape.dim:
        del tensor.shape.dim[rng.randrange(len(tensor.shape.dim))]


def change_version(rng: random.Random, proto: onnx.ModelProto) -> None:
    if rng.random() < 0.5:
        proto.opset_import[0].version = rng.choice((0, 1, 7, 11, 13, 17, 20, 99))
    else:
        proto.ir_version = rng.choice((0, 1, 3, 8, 99))


CHANGES: tuple[Callable[[random.Random, onnx.ModelProto], None], ...] = (
    *(remove_node, move_node, change_operator, change_operator, rename, rename, change_attribute, change_attribute),
    *(change_weights, change_weights, change_interface, change_interface, change_version),
)


def made(seed: int) -> Case:
    rng = random.Random(seed)
    what = rng.random()
    if what < 0.15:
        return Case(damaged(rng, CONTENT))
    if what < 0.35:
        content = bytearray(CONTENT)
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.choice(WEIGHTLESS)] ^= 1 << rng.randrange(8)
        return Case(bytes(content))
    proto = onnx.load_from_string(CONTENT)
    for _ in range(rng.randint(1, 2)):
        if proto.graph.node and proto.graph.initializer:
            rng.choice(CHANGES)(rng, proto)
    return Case(proto.SerializeToString())


def cases() -> st.SearchStrategy[Case]:
    return st.integers(0, (1 << 64) - 1).map(made)


def run(case: Case, path: Path) -> None:
    model = speechrnn.load(str(path))
    check_posteriors(model.posteriors(SOUND), len(model.labels))
    heard = model.classify(SOUND)
    assert set(heard.posterior) == set(model.labels)
    spotter = speechrnn.Spotter(model)
    for start in range(0, len(SOUND), 500):
        spotter.process(SOUND[start : start + 500])
    spotter.finish()
