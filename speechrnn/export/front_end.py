"""The front end as ONNX nodes: the power in mel bands, as `speechrnn.training.front_end` computes it."""

import math

import numpy as np
import torch
from onnx import TensorProto

from speechrnn.export.nodes import Graph
from speechrnn.training.front_end import FrontEnd

MOST_COLUMNS = 16  # of the second step of the Fourier transform: more need larger matrices


def mel_power(graph: Graph, sound: str, front_end: FrontEnd) -> str:
    """Power in mel bands [batch, 1, hops, n_mels] of the frames of `sound` [batch, tail_length + samples].

    The Fourier transform in two steps (Cooley and Tukey 1965), each a product with small matrices: n_fft = many * few,
    sample n = few * n1 + n2, frequency k = k1 + many * k2. First over n1, for k1 up to many / 2 (the rest is
    mirrored, since sound is real), times the twiddle factors; then over n2. All in double precision: beside a loud
    tone, float32 rounding is as large as what quiet bands hold, and the logarithm makes that visible.
    `benchmarks.front_ends` compares this with other ways.
    """
    c = front_end.config
    few = math.gcd(c.hop_length, c.n_fft, MOST_COLUMNS)
    many, kept = c.n_fft // few, c.n_fft // few // 2 + 1
    frequencies = np.arange(kept)[:, None] + many * np.arange(few)  # [k1, k2]

    frames = windowed_frames(graph, sound, front_end, few)
    rows = graph.constants["windows"].shape[1]
    # The real part x and the imaginary part y of each k1, and x + y: [.., rows, few] -> [.., 3 * kept, few]
    cosine, sine = _turns(graph, np.arange(kept)[:, None, None], np.arange(rows), many, c.n_fft, "first")
    total = graph.add("Sub", [cosine, sine], "first_sum")
    parts = graph.add("Concat", [total, cosine, graph.add("Neg", [sine], "first_minus")], "first_parts", axis=1)
    product = graph.add("MatMul", [graph.reshape(parts, [3 * kept, -1], "first"), frames], "first_product")
    # Times exp(-i a) = cos a - i sin a, a = 2 pi k1 n2 / n_fft, in three products of real numbers (Gauss):
    # real part (x + y) cos a - y (cos a - sin a), imaginary part (x + y) cos a - x (cos a + sin a)
    cosine, sine = _turns(graph, np.arange(kept)[:, None, None], np.arange(few), c.n_fft, c.n_fft, "twiddle")
    total, less = graph.add("Add", [cosine, sine], "twiddle_sum"), graph.add("Sub", [cosine, sine], "twiddle_less")
    twiddles = graph.add("Concat", [cosine, total, less], "twiddle_parts", axis=1)
    twiddles = graph.reshape(twiddles, [3 * kept, few], "twiddles")
    product = graph.add("Mul", [product, twiddles], "twiddled")
    product = graph.reshape(product, [0, -1, kept, 3 * few], "twiddled_rows")
    # Over n2, the two differences above included: [batch, hops, kept, 2 * few], real and imaginary parts of each k2
    cosine, sine = _turns(graph, np.arange(few)[:, None], np.arange(few), few, c.n_fft, "second")
    total, less = graph.add("Add", [cosine, sine], "second_sum"), graph.add("Sub", [cosine, sine], "second_less")
    minus_sine = graph.add("Neg", [sine], "second_minus_sine")
    minus_cosine = graph.add("Neg", [cosine], "second_minus_cosine")
    real = graph.add("Concat", [total, minus_sine, minus_cosine], "second_real", axis=0)
    imaginary = graph.add("Concat", [less, minus_cosine, sine], "second_imaginary", axis=0)
    matrix = graph.add("Concat", [real, imaginary], "second", axis=1)  # [3 * few, 2 * few]
    product = graph.add("MatMul", [product, matrix], "second_product")
    product = graph.add("Cast", [product], "spectrum", to=TensorProto.FLOAT)
    square = graph.add("Mul", [product, product], "power_parts")
    square = graph.reshape(square, [0, 1, -1, kept * 2 * few], "power")

    mirrored = np.minimum(frequencies, c.n_fft - frequencies).ravel()
    once = np.zeros(len(mirrored), bool)
    once[np.unique(mirrored, return_index=True)[1]] = True  # some frequencies come twice, as themselves and mirrored
    used = (front_end.bands[mirrored] * torch.from_numpy(once)[:, None]).unflatten(0, (kept, few))
    each = graph.sparse_weight(used, "mel_bands_of_power")  # of the real and of the imaginary part alike
    both = graph.add("Concat", [each, each], "mel_bands_of_parts", axis=1)
    return graph.add("MatMul", [square, graph.reshape(both, [-1, c.n_mels], "mel_bands")], "mel_power")


def windowed_frames(graph: Graph, sound: str, front_end: FrontEnd, columns: int, together: int = 2) -> str:
    """Frames [batch, hops / n, n, rows, columns] of `sound` in double precision, times the window.

    A frame is `rows * columns` samples one after the other; around the window stand zeros. Slices cost more than a few
    multiplications by zero, so n frames are taken from the same samples, with the window in n places: `together` of
    them if the tail is made of so many hops, else 1. `columns` divides a hop.
    """
    c = front_end.config
    per_piece = together if front_end.tail_length % (together * c.hop_length) == 0 else 1
    step = per_piece * c.hop_length
    pieces = front_end.tail_length // step + 1
    skipped = (front_end.tail_length + c.hop_length - c.window_length) // columns  # rows older than the first window
    table = graph.reshape(sound, [0, -1, 1, step // columns, columns], "steps")
    slices, last = [], np.iinfo(np.int64).max
    for i in range(pieces):
        bounds = [("start", [i, 0 if i else skipped]), ("end", [i - pieces + 1 or last, last]), ("axes", [1, 3])]
        inputs = [table, *(graph.constant(v, f"step_{i}_{k}") for k, v in bounds)]
        slices.append(graph.add("Slice", inputs, f"step_{i}"))
    samples = graph.add("Concat", slices, "samples", axis=3) if pieces > 1 else slices[0]
    samples = graph.add("Cast", [samples], "samples_double", to=TensorProto.DOUBLE)
    length = pieces * step - skipped * columns
    after = np.arange(per_piece)[::-1] * c.hop_length
    window = front_end.window.numpy()
    placed = np.stack([np.pad(window, (length - c.window_length - n, n)) for n in after])
    windows = graph.constant(placed.reshape(per_piece, -1, columns), "windows")
    windows = graph.add("Cast", [windows], "windows_double", to=TensorProto.DOUBLE)  # once, when the file is loaded
    return graph.add("Mul", [samples, windows], "weighted_frames")


def _turns(graph: Graph, left: np.ndarray, right: np.ndarray, turn: int, n_fft: int, name: str) -> tuple[str, str]:
    """Cosine and sine of 2 pi left * right / turn, in double precision; `turn` divides `n_fft`.

    Looked up in a table of half a turn, since runtimes older than onnxruntime 1.29 have no cosine of a double. The file
    holds whole numbers and that table; the runtime works the rest out once, when it loads them.
    """
    whole = math.lcm(n_fft, 4)  # steps of a turn; a quarter of it is what lies between cosine and sine
    half = graph.constant(np.cos(2.0 * np.pi * np.arange(whole // 2 + 1) / whole), "half_turn")
    factors = [
        graph.constant(side.astype(np.int64), f"{name}_{i}") for i, side in enumerate((left, whole // turn * right))
    ]
    steps = graph.add("Mul", factors, f"{name}_steps")

    def cosine(of: str, output: str) -> str:
        turned = graph.add("Mod", [of, graph.constant([whole], "turn")], f"{output}_turned")
        back = graph.add("Sub", [graph.constant([whole], "turn"), turned], f"{output}_back")
        return graph.add("Gather", [half, graph.add("Min", [turned, back], f"{output}_step")], output)

    later = graph.add("Sub", [steps, graph.constant([whole // 4], "quarter_turn")], f"{name}_later")
    return cosine(steps, f"{name}_cosine"), cosine(later, f"{name}_sine")
