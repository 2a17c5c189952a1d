"""Change class priors: add log(new / old) to the output bias (Saerens, Latinne and Decaestecker 2002, equation 4).

In training every label has its share of the clips; where a microphone listens, most of the day is silence. And a word
with few clips, which are repeated more often, gets too low a posterior with new speakers. Posteriors are multiplied by
the ratio of the new prior to that of training and normalised; before a softmax, that is a sum of logarithms.
"""

import math

import numpy as np
import onnx
from onnx import numpy_helper

from speechrnn.export.temperature import output_layer


def apply(proto: onnx.ModelProto, label: int, ratio: float, source: str) -> None:
    """Multiply the prior of label number `label` by `ratio` (> 0), in the output layer of a graph of ours, in place.

    Raises
    ------
    ModelError
        if its output layer isn't stored as float32; `source` is named
    """
    _, bias = output_layer(proto, source)
    values = numpy_helper.to_array(bias).copy()
    values[label] += np.float32(math.log(ratio))
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
