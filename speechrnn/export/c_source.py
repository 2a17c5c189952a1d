"""The text of the C program of a model: the sources in c/ joined, with the weights as constant arrays."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechrnn.card import Card
from speechrnn.export.c_weights import GATES, Matrix, Weights
from speechrnn.export.precision import Precision
from speechrnn.training.config import HOPS_PER_BLOCK

SOURCES = Path(__file__).with_name("c")
CODE_KILOBYTES = 4  # tests/test_to_c.py holds it, compiled for a Cortex-M by size
STACK_BYTES = 2048  # and this
LINE = 116
TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t"}


COMMENTS = {
    "SPEECHRNN_SAMPLE_RATE": "/* Hz, mono */",
    "SPEECHRNN_BLOCK": "/* samples of a call of speechrnn_process */",
    "SPEECHRNN_WORDS": "/* labels that can be detected */",
    "SPEECHRNN_SMOOTHING": "/* blocks that are averaged */",
    "SPEECHRNN_REFRACTORY": "/* blocks, from that of a detection on, in which nothing else is detected */",
    "SPEECHRNN_TAIL_BLOCKS": "/* of zeros, to be processed when a sound has ended */",
}
USAGE = """\
    static speechrnn_state state;
    float probabilities[SPEECHRNN_LABELS];
    speechrnn_detection detection;

    speechrnn_init(&state);
    for (;;) {
        ... the next SPEECHRNN_BLOCK samples ...
        speechrnn_process(&state, samples, probabilities);
        if (speechrnn_decide(&state, probabilities, &detection))
            ... speechrnn_labels[detection.label] was detected ...
    }"""


@dataclass(frozen=True)
class Program:
    """The files of the C program by name, and what they need on the device, in bytes."""

    files: dict[str, str]
    constant_bytes: int
    state_bytes: int

    def write(self, folder: Path) -> None:
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")


@dataclass
class _Tables:
    """Constants: declared at the top of the C file, where they are explained, and defined at its end."""

    precision: Precision
    declarations: list[str] = field(default_factory=list)
    definitions: list[str] = field(default_factory=list)
    size: int = 0  # bytes

    def array(self, name: str, values: np.ndarray, why: str = "") -> str:
        kind = TYPES[values.dtype.name]
        dimensions = "".join(f"[{n}]" for n in values.shape)
        self.declarations.append(f"static const {kind} {name}{dimensions};{f' /* {why} */' if why else ''}")
        rows = values.reshape(values.shape[0], -1)
        texts = [", ".join(map(_number, row)) for row in rows]
        texts = [f"{{{text}}}" for text in texts] if values.ndim > 1 else texts
        self.definitions.append(f"static const {kind} {name}{dimensions} = {{\n{_filled(texts)}\n}};")
        self.size += values.nbytes
        return name

    def matrix(self, name: str, matrix: Matrix) -> str:
        """The C definition of a matrix, whose numbers go among the tables."""
        outputs, inputs = matrix.weights.shape
        if self.precision is Precision.int8:
            weights, scales = matrix.quantised()
            arrays = [self.array(f"{name}_weights", weights.ravel()), self.array(f"{name}_scales", scales)]
        else:
            arrays = [self.array(f"{name}_weights", matrix.weights.T.ravel())]
        return f"static const matrix {name} = {{{inputs}, {outputs}, {', '.join(arrays)}}};"


def program(weights: Weights, card: Card, precision: Precision, source: str) -> Program:
    """speechrnn.h, speechrnn.c and main.c of a model; `source` is how the file is called that it comes from."""
    tables = _Tables(precision)
    settings = _front_end(tables, weights)
    convolutions = _convolutions(tables, weights)
    cells = _cells(tables, weights)
    ends = [tables.matrix("features_matrix", weights.features), tables.matrix("output_matrix", weights.output)]
    tables.array("features_bias", weights.features_bias)
    tables.array("output_bias", weights.output_bias)
    settings += _decision(tables, card)
    interface, sizes = _interface(card), _sizes(weights)
    state_bytes = _state_bytes(interface | sizes, weights.network.cell)
    constants = tables.size

    heading = _heading(card, precision, source, constants, state_bytes)
    memory = "float memory[SPEECHRNN_LAYERS][SPEECHRNN_HIDDEN];"
    header = _source("speechrnn.h", heading=heading, interface=_defines(interface), sizes=_defines(sizes))
    header = header.replace("    /* @memory@ */\n", f"    {memory}\n" if weights.network.cell == "lstm" else "")
    names = _filled(_c_string(label) for label in card.labels)
    labels = f"const char *const speechrnn_labels[SPEECHRNN_LABELS] = {{\n{names}\n}};"
    code = [
        _source("speechrnn.c", settings="\n".join(settings), declarations="\n".join(tables.declarations)),
        _source(f"matrix_{precision.value}.c"),
        _source("front_end.c"),
        _source("convolution.c", convolutions=convolutions),
        _source("recurrent.c", cells=cells),
        *([_source("sigmoid.c")] if weights.network.cell != "rnn" else []),
        _source(f"cell_{weights.network.cell}.c"),
        _source("process.c", matrices="\n".join(ends)),
        _source("spotter.c", labels=labels),
        f"/* ---- The numbers {'-' * 97} */\n",
        *(f"{definition}\n" for definition in tables.definitions),
    ]
    files = {"speechrnn.h": header, "speechrnn.c": "\n".join(code), "main.c": _source("main.c")}
    return Program(files, constants, state_bytes)


def _source(name: str, **texts: str) -> str:
    """A file of c/; each comment /* @key@ */ in it becomes the text of that name."""
    text = (SOURCES / name).read_text(encoding="utf-8")
    for key, value in texts.items():
        assert f"/* @{key}@ */" in text, (name, key)
        text = text.replace(f"/* @{key}@ */", value)
    return text


def _number(value: np.number) -> str:
    """The shortest text that gives exactly this number."""
    return f"{value!s}f" if value.dtype == np.float32 else str(value)


def _filled(items: Iterable[str]) -> str:
    """Items with commas between them, in indented lines."""
    lines = [""]
    for item in items:
        if len(lines[-1]) + len(item) > LINE - 6:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{item},"
    return "\n".join(f"    {line}" for line in lines)


def _c_string(text: str) -> str:
    """A string literal. Octal for whatever could mean something to a compiler, or isn't ASCII."""
    plain = re.compile(rb"[A-Za-z0-9_ .-]")
    parts = (bytes([b]) if plain.fullmatch(bytes([b])) else b"\\%03o" % b for b in text.encode(errors="replace"))
    return f'"{b"".join(parts).decode()}"'


def _defines(values: dict[str, int]) -> str:
    width = max(map(len, values))
    lines = (f"#define {name:<{width}} {value} {COMMENTS.get(name, '')}".rstrip() for name, value in values.items())
    return "\n".join(lines)


def _front_end(tables: _Tables, weights: Weights) -> list[str]:
    """Window, Fourier transform, mel bands (stored without their zeros) and normalisation."""
    config = weights.front_end
    tables.array("window", weights.window)
    angles = -2.0 * np.pi * np.arange(config.n_fft // 2) / config.n_fft
    turns = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    tables.array("turns", turns, "cosine and sine of each step around the circle")
    ranges, values = [], []
    for band in weights.mel_bands.T:
        used = np.flatnonzero(band)  # a triangle: no gaps; a very narrow one may have no bin at all
        first, bins = (int(used[0]), int(used[-1] - used[0] + 1)) if len(used) else (0, 0)
        ranges.append(f"{{{first}, {bins}}}")
        values.append(band[first : first + bins])
    tables.declarations.append(
        "static const struct { int16_t first, bins; } mel_bands[SPEECHRNN_BANDS] = {"
        f" /* where each has its bins */\n{_filled(ranges)}\n}};"
    )
    tables.size += 4 * len(ranges)
    tables.array("mel_weights", np.concatenate(values), "of the bins of one band after the other")
    tables.array("band_scale", weights.band_scale)
    tables.array("band_bias", weights.band_bias)
    offset = _number(np.float32(config.log_offset))
    return [f"#define LOG_OFFSET {offset} /* added to the power: a little above the noise of 16 bits */"]


def _convolutions(tables: _Tables, weights: Weights) -> str:
    matrices, rows, offset = [], [], 0
    for i, convolution in enumerate(weights.convolutions):
        name = f"convolution_{i}"
        height, width, _ = convolution.taps.shape
        taps = tables.array(f"{name}_taps", convolution.taps.ravel())
        bias = tables.array(f"{name}_bias", convolution.bias)
        mix = "NULL"
        if convolution.mix:
            matrices.append(tables.matrix(f"{name}_mix", convolution.mix))
            mix = f"&{name}_mix"
        numbers = [convolution.inputs, convolution.outputs, height, height - convolution.past]
        numbers += [convolution.bands, convolution.output_bands, width]
        numbers += [convolution.stride, int(convolution.residual), offset]
        rows.append(f"    {{{', '.join(map(str, numbers))}, {taps}, {mix}, {bias}}},")
        offset += height * convolution.bands * convolution.inputs
    count = f"#define CONVOLUTIONS {len(rows)}"
    return "\n".join([*matrices, "", count, "static const convolution convolutions[CONVOLUTIONS] = {", *rows, "};"])


def _cells(tables: _Tables, weights: Weights) -> str:
    matrices, rows = [], []
    for i, cell in enumerate(weights.cells):
        name = f"{weights.network.cell}_{i}"
        matrices.append(tables.matrix(f"{name}_input", cell.input))
        matrices.append(tables.matrix(f"{name}_hidden", cell.hidden))
        biases = [
            tables.array(f"{name}_input_bias", cell.input_bias),
            tables.array(f"{name}_hidden_bias", cell.hidden_bias),
        ]
        rows.append(f"    {{&{name}_input, &{name}_hidden, {', '.join(biases)}}},")
    return "\n".join([*matrices, "", "static const cell cells[SPEECHRNN_LAYERS] = {", *rows, "};"])


def _decision(tables: _Tables, card: Card) -> list[str]:
    """The settings of speechrnn.Spotter, in blocks where they are times."""
    places = np.array([card.labels.index(word) for word in card.words], np.uint8)
    tables.array("word_labels", places, "which labels are words")
    tables.array("word_thresholds", np.array([card.thresholds[word] for word in card.words], np.float32))
    return [f"#define HYSTERESIS {_number(np.float32(card.hysteresis))}"]


def _interface(card: Card) -> dict[str, int]:
    """What the header defines for the program that uses it."""
    return {
        "SPEECHRNN_SAMPLE_RATE": card.sample_rate,
        "SPEECHRNN_BLOCK": card.block_length,
        "SPEECHRNN_LABELS": len(card.labels),
        "SPEECHRNN_WORDS": len(card.words),
        "SPEECHRNN_SMOOTHING": card.smoothing_blocks,
        "SPEECHRNN_REFRACTORY": card.refractory_blocks,
        "SPEECHRNN_TAIL_BLOCKS": card.tail_blocks,
    }


def _sizes(weights: Weights) -> dict[str, int]:
    """What the header defines for its own struct, and for the C file."""
    front_end, network, last = weights.front_end, weights.network, weights.convolutions[-1]
    matrices = [c.mix for c in weights.convolutions if c.mix] + [weights.features, weights.output]
    matrices += [matrix for cell in weights.cells for matrix in (cell.input, cell.hidden)]
    return {
        "SPEECHRNN_WINDOW": front_end.window_length,
        "SPEECHRNN_HOP": front_end.hop_length,
        "SPEECHRNN_SOUND": front_end.window_length + (HOPS_PER_BLOCK - 1) * front_end.hop_length,
        "SPEECHRNN_FFT": front_end.n_fft,
        "SPEECHRNN_BANDS": front_end.n_mels,
        "SPEECHRNN_ROWS": sum(c.taps.shape[0] * c.bands * c.inputs for c in weights.convolutions),
        "SPEECHRNN_CHANNELS": max(c.inputs for c in weights.convolutions),
        "SPEECHRNN_LAST_ROW": last.output_bands * last.outputs,
        "SPEECHRNN_FEATURES": network.features,
        "SPEECHRNN_LAYERS": network.layers,
        "SPEECHRNN_HIDDEN": network.hidden_size,
        "SPEECHRNN_GATES": GATES[network.cell] * network.hidden_size,
        "SPEECHRNN_WIDEST": max(matrix.weights.shape[1] for matrix in matrices),
    }


def _state_bytes(sizes: dict[str, int], cell: str) -> int:
    """sizeof(speechrnn_state): everything but `fallen` has 32 bits. The tests hold it against the compiler's."""
    n = {name.removeprefix("SPEECHRNN_").lower(): value for name, value in sizes.items()}
    hidden = n["layers"] * n["hidden"] * (2 if cell == "lstm" else 1)
    decision = n["words"] + (n["smoothing"] + 1) * n["labels"] + 2 + -(-n["words"] // 4)
    network = n["channels"] + n["last_row"] + n["features"] + 2 * n["gates"]
    return 4 * (n["sound"] + n["rows"] + hidden + decision + max(2 * n["fft"], network))


def _comment(text: str) -> str:
    """Text that can't end a comment, start one, or mean something else to a compiler."""
    text = re.sub(r"[^ -~\u00a0-\ud7ff\ue000-\U0010ffff]|\\", " ", text)
    return re.sub(r"(?<=[*/?])(?=[*/?])", " ", text)


def _heading(card: Card, precision: Precision, source: str, constants: int, state: int) -> str:
    """The first comment of the header: what this is, how it is used, what it needs."""
    words = ", ".join(card.words)
    parts = [
        f"Finds words in sound, 20 ms at a time: {words}.",
        f"Written by speechrnn to-c from {source} (network {card.name}). Don't edit it: export it again.",
        USAGE,
        f"Flash: {constants} bytes of constants ({precision.value} matrices) and less than {CODE_KILOBYTES} KB of code"
        " (by size, on a Cortex-M), besides expf, logf and tanhf of the C library. "
        f"RAM: {state} bytes in speechrnn_state, and less than {STACK_BYTES} bytes of stack. "
        "No malloc, no other state, no double precision.",
        f"Trained on: {'; '.join(card.training_data) or 'unknown sound'}.",
        "The code is under the Apache License, version 2.0.",
    ]
    lines: list[str] = []
    for part in parts:
        text = _comment(part) if part != USAGE else part
        lines += [*(text.splitlines() if part == USAGE else textwrap.wrap(text, LINE - 3)), ""]
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines[:-1])[3:] + "\n */"
