"""The encoding of ONNX files, read as far as onnxruntime doesn't check them itself."""

from collections.abc import Iterator

MODEL_GRAPH, GRAPH_NODE, NODE_INPUT, NODE_OPERATOR = 7, 1, 1, 4  # field numbers of onnx.proto
MAY_LACK_INPUTS = (b"GRU", b"LSTM", b"RNN")  # an input without a name is one that is left out
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


def node_without_input(model: bytes) -> str | None:
    """The operator of a node that lacks an input which it needs; None if there is none.

    onnxruntime 1.32 runs such a node all the same where it takes any number of inputs, and reads memory that isn't its.

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
            inputs, operator = [], b""
            for number, content in fields(node):
                if number == NODE_INPUT:
                    inputs.append(len(content))
                elif number == NODE_OPERATOR:
                    operator = bytes(content)
            if 0 in inputs and operator not in MAY_LACK_INPUTS:
                return operator.decode(errors="replace")
    return None
