"""The front end as ONNX nodes: sound in, power in mel bands out, the same numbers as `speechrnn.training.front_end`."""

import math

import numpy as np
import torch
from onnx import TensorProto

from export.nodes import Graph
from speechrnn.training.front_end import FrontEnd

MOST_COLUMNS = 16  # of the second step of the Fourier transform: more need larger matrices


def mel_power(graph: Graph, heard: str, front_end: FrontEnd) -> str:
    """Power in mel bands [batch, 1, hops, n_mels] of the frames of `heard` [batch, tail_length + samples].

    The Fourier transform in two steps (Cooley and Tukey 1965), each a product with small matrices: n_fft = many * few,
    sample n = few * n1 + n2, frequency k = k1 + many * k2. First over n1, for k1 up to many / 2 (the rest is
    mirrored, since sound is real), times the twiddle factors; then over n2. All in double precision: beside a loud
    tone, float32 rounding is as large as what quiet bands hold, and the logarithm makes that visible.
    `export.front_ends` compares this with other ways.
    """
    c = front_end.config
    length = front_end.tail_length + c.hop_length
    few = math.gcd(length, c.n_fft, MOST_COLUMNS)
    many, kept = c.n_fft // few, c.n_fft // few // 2 + 1
    frequencies = np.arange(kept)[:, None] + many * np.arange(few)  # [k1, k2]

    frames = windowed_frames(graph, heard, front_end)
    # [batch, hops, length / few, few] -> [batch, hops, 2 * kept, few]: the real and the imaginary part of each k1
    frames = graph.reshape(frames, [0, 0, length // few, few], "frame_rows")
    cosine, sine = _turns(graph, np.arange(kept)[:, None, None], np.arange(length // few), many, "first")
    parts = graph.add("Concat", [cosine, graph.add("Neg", [sine], "first_minus")], "first_parts", axis=1)
    product = graph.add("MatMul", [graph.reshape(parts, [2 * kept, -1], "first"), frames], "first_product")
    # Times exp(-2 pi i k1 n2 / n_fft); all four products of real numbers are kept: [batch, hops, kept, 4 * few]
    product = graph.reshape(product, [0, 0, kept, 1, 2 * few], "first_rows")
    cosine, sine = _turns(graph, np.arange(kept)[:, None, None], np.arange(few), c.n_fft, "twiddle")
    minus = graph.add("Neg", [sine], "twiddle_minus")
    real = graph.add("Concat", [cosine, sine], "twiddle_real", axis=2)
    imaginary = graph.add("Concat", [minus, cosine], "twiddle_imaginary", axis=2)
    twiddles = graph.add("Concat", [real, imaginary], "twiddles", axis=1)  # [kept, 2, 2 * few]
    product = graph.add("Mul", [product, twiddles], "twiddled")
    product = graph.reshape(product, [0, 0, kept, 4 * few], "twiddled_rows")
    cosine, sine = _turns(graph, np.arange(few)[:, None], np.arange(few), few, "second")
    real = graph.add("Concat", [cosine, graph.add("Neg", [sine], "second_minus")], "second_real", axis=1)
    imaginary = graph.add("Concat", [sine, cosine], "second_imaginary", axis=1)
    matrix = graph.add("Concat", [real, real, imaginary, imaginary], "second", axis=0)  # [4 * few, 2 * few]
    product = graph.add("MatMul", [product, matrix], "second_product")
    product = graph.add("Cast", [product], "spectrum", to=TensorProto.FLOAT)
    square = graph.add("Mul", [product, product], "power_parts")
    square = graph.reshape(square, [0, 1, -1, kept * 2 * few], "power")

    mirrored = np.minimum(frequencies, c.n_fft - frequencies).ravel()
    once = np.zeros(len(mirrored), bool)
    once[np.unique(mirrored, return_index=True)[1]] = True  # some frequencies come twice, as themselves and mirrored
    used = (front_end.bands[mirrored] * torch.from_numpy(once)[:, None]).unflatten(0, (kept, few))
    each = graph.weight(used, "mel_bands_of_power")  # of the real and of the imaginary part alike
    both = graph.add("Concat", [each, each], "mel_bands_of_parts", axis=1)
    return graph.add("MatMul", [square, graph.reshape(both, [-1, c.n_mels], "mel_bands")], "mel_power")


def windowed_frames(graph: Graph, heard: str, front_end: FrontEnd) -> str:
    """Frames [batch, hops, tail_length + hop_length] of `heard`, in double precision, times the window.

    A frame is a whole number of hops, so that frames are slices of a table of hops; in front of the window stand zeros.
    """
    c = front_end.config
    length = front_end.tail_length + c.hop_length
    hops = length // c.hop_length
    table = graph.reshape(heard, [0, -1, c.hop_length], "hops")
    table = graph.add("Cast", [table], "hops_double", to=TensorProto.DOUBLE)
    slices = []
    for i in range(hops):
        end = i - hops + 1 or np.iinfo(np.int64).max
        bounds = [("start", [i]), ("end", [end]), ("axis", [1])]
        inputs = [table, *(graph.constant(v, f"hop_{i}_{k}") for k, v in bounds)]
        slices.append(graph.add("Slice", inputs, f"hop_{i}"))
    frames = graph.add("Concat", slices, "unweighted_frames", axis=2) if hops > 1 else slices[0]
    weights = np.pad(front_end.window.double().numpy(), (length - c.window_length, 0))
    return graph.add("Mul", [frames, graph.constant(weights, "window")], "weighted_frames")


def _turns(graph: Graph, left: np.ndarray, right: np.ndarray, turn: int, name: str) -> tuple[str, str]:
    """Cosine and sine of 2 pi left * right / turn, in double precision.

    The file holds whole numbers; the runtime works the tables out once, when it loads them.
    """
    factors = [graph.constant(side.astype(np.int64), f"{name}_{i}") for i, side in enumerate((left, right))]
    steps = graph.add("Mul", factors, f"{name}_steps")
    steps = graph.add("Cast", [steps], f"{name}_steps_double", to=TensorProto.DOUBLE)
    angle = graph.add("Mul", [steps, graph.constant(np.array(2.0 * np.pi / turn), f"{name}_step")], f"{name}_angle")
    return graph.add("Cos", [angle], f"{name}_cosine"), graph.add("Sin", [angle], f"{name}_sine")
