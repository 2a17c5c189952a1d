"""How weights are stored, in an ONNX file and in a C program."""

from enum import StrEnum


class Weights(StrEnum):
    """In an ONNX file."""

    int8 = "int8"
    float16 = "float16"


class Precision(StrEnum):
    """Of the matrices of a C program. Biases, the first convolution and the depthwise ones are float32 in any case."""

    float32 = "float32"
    int8 = "int8"
