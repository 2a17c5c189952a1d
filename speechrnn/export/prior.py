"""A graph in, the same graph out, to which one label is more likely (or less) before it has heard anything.

In training every label has its share of the clips; where a microphone listens, most of the day is silence. And a word
with few clips, which are heard more often for it, is believed less than it should be of new speakers. A classifier
that has learnt with one share of a label meets another by the ratio of both: its probability, times that ratio, all
made to sum to 1 again (Saerens, Latinne and Decaestecker 2002, Adjusting the Outputs of a Classifier to New a Priori
Probabilities, equation 4). In front of a softmax that is a sum: the logarithm of the ratio is added to the bias.
"""

import math

import numpy as np
import onnx
from onnx import numpy_helper

from speechrnn.export.temperature import output_layer


def apply(proto: onnx.ModelProto, label: int, ratio: float, source: str) -> None:
    """Make label number `label` of a graph of ours `ratio` (> 0) times as likely, in place.

    Raises
    ------
    ModelError
        if its output layer isn't stored as float32; `source` is named
    """
    _, bias = output_layer(proto, source)
    values = numpy_helper.to_array(bias).copy()
    values[label] += np.float32(math.log(ratio))
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
