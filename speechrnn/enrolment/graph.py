"""The ONNX file of a network with own words: the network's graph, and the head behind it.

The head's weights are applied to the states of each block first, to all delays at once; what is remembered are those
products, 180 numbers a word, and not the states. They are a further part of the one flat state. A convolution with
ones at the delays adds them up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from speechrnn.card import Card
from speechrnn.enrolment.head import Columns, Head
from speechrnn.errors import ModelError

if TYPE_CHECKING:
    import onnx


class _Addition:
    """Nodes and constants that are added to a graph; every method returns the name of its result."""

    def __init__(self, proto: onnx.ModelProto, prefix: str) -> None:
        self.graph, self.prefix = proto.graph, prefix

    def constant(self, value: np.ndarray, name: str) -> str:
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), f"{self.prefix}_{name}"))
        return f"{self.prefix}_{name}"

    def integers(self, values: Any, name: str) -> str:
        return self.constant(np.asarray(values, np.int64), name)

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"{self.prefix}_{name}"
        self.graph.node.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def state_names(card: Card, source: str) -> list[str]:
    """What the rows [blocks, batch, hidden_size] of the recurrent layers are called in a graph of ours."""
    cell, _, _, layers = card.recurrent_stack(source)
    return [f"{cell}_{layer}" for layer in range(layers)]


def with_head(content: bytes, card: Card, head: Head, layout: Columns, source: str) -> onnx.ModelProto:
    """The graph of a file of ours with a head of own words; its card is still the old one.

    Raises
    ------
    ModelError
        if the graph isn't built as ours are; `source` is named
    """
    import onnx
    from onnx import helper

    proto = onnx.load_from_string(content)
    graph = proto.graph
    produced = {output: node for node in graph.node for output in node.output}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    rows = state_names(card, source)
    split = next((n for n in graph.node if n.op_type == "Split" and n.input[0] == "state"), None)
    end, last = produced.get("next_state"), produced.get("probabilities")
    lengths = initializers.get(split.input[1]) if split and len(split.input) == 2 else None
    if split is None or end is None or last is None or lengths is None or end.op_type != "Concat":
        raise ModelError(f"{source}: its graph isn't built as ours are: export it again")
    if not set(rows) <= set(produced) or head.weights.shape[2] != len(rows) * card.network["hidden_size"]:
        raise ModelError(f"{source}: its graph lacks the states that its model card speaks of: export it again")
    number = sum(tensor.name.endswith("_own_weights") for tensor in graph.initializer)
    made = _Addition(proto, f"own_{number}")

    # The memory is the last part of the state.
    memory = f"own_{number}_memory"
    sizes = [*onnx.numpy_helper.to_array(lengths).tolist(), head.memory]
    split.input[1] = made.integers(sizes, "split")
    split.output.append(memory)

    words, delays = len(head.words), len(head.delays)
    past = max(head.delays)
    step = int(np.gcd.reduce([delay for delay in head.delays if delay] or [1]))
    states = made.add("Concat", rows, "states", axis=2)  # [blocks, batch, units]
    weights = head.weights.reshape(words * delays, -1).T
    product = made.add("MatMul", [states, made.constant(weights.astype(np.float32), "own_weights")], "product")
    product = made.add("Transpose", [product], "fresh", perm=[1, 2, 0])  # [batch, words * delays, blocks]
    before = made.add("Reshape", [memory, made.integers([0, words * delays, past], "memory_shape")], "past")
    whole = made.add("Concat", [before, product], "whole", axis=2)
    bounds = [made.integers([value], name) for value, name in ((-past, "start"), (2**62, "end"), (2, "axis"))]
    following = made.add("Slice", [whole, *bounds], "next_past")
    following = made.add("Reshape", [following, made.integers([0, head.memory], "next_shape")], "next_memory")
    taps = np.zeros((words, delays, past // step + 1), np.float32)
    for k, delay in enumerate(head.delays):
        taps[:, k, (past - delay) // step] = 1.0
    inputs = [whole, made.constant(taps, "taps"), made.constant(head.bias.astype(np.float32), "bias")]
    logits = made.add("Conv", inputs, "sums", dilations=[step], group=words, kernel_shape=[taps.shape[2]])
    logits = made.add("Transpose", [logits], "logits", perm=[0, 2, 1])  # [batch, blocks, words]
    one_more = made.add("Pad", [logits, made.integers([0, 0, 0, 0, 0, 1], "pads")], "with_nothing")  # a logit of 0
    shares = made.add("Softmax", [one_more], "shares", axis=-1)

    # A row of the file's posteriors is the product of two: of what there is to share, and of the shares. Both are sums
    # of columns; a kept word's is its own column times 1, which changes no bit.
    trunk = f"own_{number}_before"
    _rename_output(last, "probabilities", trunk)
    first, behind = len(layout.kept), len(layout.kept) + words
    amounts = np.zeros((len(card.labels), len(layout.labels)), np.float32)
    amounts[layout.kept, range(first)] = 1.0
    amounts[np.ix_([*layout.others, *layout.dropped], range(first, behind))] = 1.0
    amounts[layout.others, range(behind, len(layout.labels))] = 1.0
    amounts[list(layout.dropped), behind] = 1.0
    chosen = np.zeros((words + 1, len(layout.labels)), np.float32)
    chosen[range(words), range(first, behind)] = 1.0
    chosen[words, behind:] = 1.0
    whole_share = np.zeros(len(layout.labels), np.float32)
    whole_share[:first] = 1.0
    amount = made.add("MatMul", [trunk, made.constant(amounts, "amounts")], "amount")
    share = made.add("MatMul", [shares, made.constant(chosen, "chosen")], "chosen_shares")
    share = made.add("Add", [share, made.constant(whole_share, "whole_share")], "share")
    last_node = helper.make_node("Mul", [amount, share], ["probabilities"], name=f"own_{number}_rows")
    graph.node.append(last_node)

    # `next_state` once more, with the memory behind it; the old one keeps its node under another name.
    _rename_output(end, "next_state", f"own_{number}_state_before")
    joined = [f"own_{number}_state_before", following]
    graph.node.append(helper.make_node("Concat", joined, ["next_state"], name=f"own_{number}_next_state", axis=1))

    size = card.state_size + head.memory
    for value in (*graph.input, *graph.output):
        if value.name in ("state", "next_state"):
            value.type.tensor_type.shape.dim[1].dim_value = size
        if value.name == "probabilities":
            value.type.tensor_type.shape.dim[2].dim_value = len(layout.labels)
    return proto


def _rename_output(node: onnx.NodeProto, old: str, new: str) -> None:
    for i, name in enumerate(node.output):
        if name == old:
            node.output[i] = new


def card_with_head(card: Card, head: Head, layout: Columns, thresholds: dict[str, float], figures: dict) -> Card:
    """The card of the enrolled file; `thresholds` are those of the own words."""
    words = tuple(card.labels[i] for i in layout.kept) + head.words
    kept = {word: card.thresholds[word] for word in words if word in card.thresholds}
    return replace(
        card,
        labels=layout.labels,
        words=words,
        state_size=card.state_size + head.memory,
        thresholds=kept | thresholds,
        figures=figures,
    )
