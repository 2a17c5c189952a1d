"""Build an ONNX graph: nodes and constants by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper

OPSET = 17
IR_VERSION = 8  # of the same age


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

    def sparse_weight(self, tensor: torch.Tensor, name: str) -> str:
        """Store a tensor as indices and values; ScatterElements rebuilds it once, when constants are folded at load."""
        flat = tensor.flatten()
        places = flat.nonzero().flatten()
        zeros = self.add("ConstantOfShape", [self.constant([len(flat)], f"{name}_length")], f"{name}_zeros")
        where = self.constant(places.numpy().astype(np.int32), f"{name}_places")
        filled = [zeros, where, self.weight(flat[places], f"{name}_values")]
        return self.reshape(self.add("ScatterElements", filled, f"{name}_flat", axis=0), tensor.shape, name)

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
