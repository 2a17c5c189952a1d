"""The encoding of ONNX files, read as far as onnxruntime doesn't check them itself."""

from collections.abc import Iterator

MODEL_GRAPH, GRAPH_NODE, NODE_INPUT, NODE_OPERATOR = 7, 1, 1, 4  # field numbers of onnx.proto
MAY_LACK_INPUTS = {"GRU", "LSTM", "RNN"}  # an input without a name is one that is left out
# What a model of ours may have: none of them repeats, or computes a size from other values than a shape's.
_KINDS = """
Abs Add BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv Cos DequantizeLinear Div Equal Exp Gather Gemm
Greater Identity Less Log MatMul Max Min Mod Mul Neg Pad Pow QuantizeLinear Reciprocal ReduceMax ReduceMean ReduceSum
Relu Reshape ScatterElements Shape Sigmoid Sin Slice Softmax Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where
"""
OPERATORS = MAY_LACK_INPUTS.union(_KINDS.split())
VARINT, EIGHT_BYTES, MESSAGE, FOUR_BYTES = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a message that has a length; others are passed over.

    Raises
    ------
    ValueError
        if it isn't a message
    """
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while shift < 64:
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number is too long")

    try:
        while position < len(message):
            key = varint()
            if key & 7 == MESSAGE:
                length = varint()
                content = message[position : position + length]
                if len(content) < length:
                    raise ValueError("a field is cut off")
                position += length
                yield key >> 3, content
            elif key & 7 == VARINT:
                varint()
            elif key & 7 in (EIGHT_BYTES, FOUR_BYTES):
                position += 8 if key & 7 == EIGHT_BYTES else 4
            else:
                raise ValueError("a field has no type")
    except IndexError:
        raise ValueError("a field is cut off") from None


def unfit_node(model: bytes) -> str | None:
    """What is wrong with a node that shouldn't be run, in a few words; None if nothing is wrong with any.

    onnxruntime 1.32 runs a node without an input where it takes any number of inputs, and reads memory that isn't its;
    and it aborts on an Expand to a negative size. So only operators are let in that a model of ours may have.

    Raises
    ------
    ValueError
        if the file isn't of ONNX
    """
    for part, graph in fields(memoryview(model)):
        if part != MODEL_GRAPH:
            continue
        for kind, node in fields(graph):
            if kind != GRAPH_NODE:
                continue
            inputs, operator = [], ""
            for number, content in fields(node):
                if number == NODE_INPUT:
                    inputs.append(len(content))
                elif number == NODE_OPERATOR:
                    operator = bytes(content).decode(errors="replace")
            if operator not in OPERATORS:
                return f"a node {operator[:40]} is of a kind that no model of speechrnn has"
            if 0 in inputs and operator not in MAY_LACK_INPUTS:
                return f"a node {operator} lacks an input"
    return None
