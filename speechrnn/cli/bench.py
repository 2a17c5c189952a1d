"""`speechrnn bench`: what hearing costs on this machine."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from speechrnn.cli import report_errors

if TYPE_CHECKING:
    from speechrnn.model import Model

ROUNDS, BLOCKS = 40, 50  # the model and its reference take turns: so many times, so many blocks at a time
STREAM = """
import sys, resource
import numpy as np
from speechrnn.model import Model
from speechrnn.spotter import Spotter

spotter = Spotter(Model(sys.argv[1]))
rng = np.random.default_rng(0)
peaks = []
for seconds in map(float, sys.argv[2:]):
    while spotter.seconds < seconds:
        spotter.process(0.1 * rng.standard_normal(16_000, dtype=np.float32))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(*peaks)
"""


def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL...]", help="ONNX files; the shipped one if left out")
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.0, help="Also hear so many hours of noise: does the memory grow?")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
) -> None:
    """Measure on one thread what a 20 ms block, a clip, a cold start and the memory cost.

    The ratio compares a block with a bare ONNX recurrent step of the same size, timed in turns in the same run:
    machines differ and are noisy, ratios less so.

    Example: speechrnn bench --hours 10
    """
    with report_errors():
        from speechrnn.model import Model

        rows = [_measure(Model(path), hours) for path in models or (None,)]
        if as_json:
            sys.stdout.write(json.dumps(rows, indent=2) + "\n")
            return
        from rich.console import Console
        from rich.table import Table

        table = Table("measure", *(Path(row["model"]).name for row in rows))
        for key in rows[0]:
            if key != "model":
                cells = (row[key] for row in rows)
                table.add_row(key.replace("_", " "), *("-" if c is None else f"{c:.4g}" for c in cells))
        Console().print(table)


def _measure(model: "Model", hours: float) -> dict:
    card = model.card
    stream = model.stream()
    rng = np.random.default_rng(0)
    block = (0.1 * rng.standard_normal((1, card.block_length))).astype(np.float32)
    clip = (0.1 * rng.standard_normal(card.sample_rate)).astype(np.float32)
    times, bare = _in_turns(lambda: stream.process(block), _recurrent_step(model))
    clip_times = [_seconds(lambda: model.posteriors(clip)) for _ in range(20)]
    minute, later = _peak_memory(model.path, [60.0, 3600.0 * hours] if hours else [60.0])
    ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(times, bare, strict=True)]
    every = np.concatenate(times)
    return {
        "model": str(model.path),
        "file_MB": model.path.stat().st_size / 1e6,
        "block_ms": 1000 * float(np.median(every)),
        "block_p99_ms": 1000 * float(np.quantile(every, 0.99)),
        "recurrent_step_ms": 1000 * float(np.median(np.concatenate(bare))),
        "block_to_recurrent_step_ratio": statistics.median(ratios),
        "real_time_factor": float(np.median(every)) / card.block_seconds,
        "clip_of_1_s_ms": 1000 * statistics.median(clip_times),
        "cold_start_s": _cold_start(model.path),
        "peak_memory_MB": minute,
        **({"memory_ratio_after_hours": later / minute} if minute and later else {}),
    }


def _seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def _in_turns(*jobs: Callable[[], object]) -> list[list[list[float]]]:
    """Seconds of each call [job][round][call]; the first round of each isn't counted."""
    times: list[list[list[float]]] = [[] for _ in jobs]
    for _ in range(ROUNDS + 1):
        for job, rounds in zip(jobs, times, strict=True):
            rounds.append([_seconds(job) for _ in range(BLOCKS)])
    return [rounds[1:] for rounds in times]


def _peak_memory(path: Path, seconds: list[float]) -> tuple[float | None, float | None]:
    """Peak resident memory [MB] of a process of its own after a minute, and after the last of `seconds`."""
    try:
        import resource  # noqa: F401  # not on Windows
    except ModuleNotFoundError:
        return None, None
    command = [sys.executable, "-c", STREAM, str(path), *map(str, seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    unit = 1e6 if sys.platform == "darwin" else 1e3  # Linux counts kilobytes
    peaks = [float(number) / unit for number in done.stdout.split()]
    return peaks[0], peaks[-1] if len(peaks) > 1 else None


def _cold_start(path: Path, runs: int = 5) -> float:
    """Seconds from a shell's prompt to a label; median."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, np.zeros(16_000), 16_000)
        command = [sys.executable, "-m", "speechrnn", "classify", str(clip), "--model", str(path)]
        run = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        return statistics.median(_seconds(run) for _ in range(runs))


def _recurrent_step(model: "Model") -> Callable[[], object]:
    """One step of a bare recurrent stack of the model's size in onnxruntime, state in and out, with random weights."""
    import onnxruntime

    network = model.card.network
    sizes = network["features"], network["hidden_size"], network["layers"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = recurrent_stack(network["cell"], *sizes)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    inputs = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()}
    return lambda: session.run(None, inputs)


def recurrent_stack(cell: str, features: int, hidden: int, layers: int) -> bytes:
    """An ONNX file with a recurrent stack alone, for one step: `rows`, and each layer's state, in and out.

    Written field by field (onnx.proto), since the onnx package is no dependency of the runtime.
    """
    gates = {"gru": 3, "lstm": 4, "rnn": 1}[cell]
    kinds = ["hidden", "memory"] if cell == "lstm" else ["hidden"]
    rng = np.random.default_rng(0)
    nodes, weights, inputs, outputs = [], [], [_value("rows", 1, 1, features)], []
    rows, width = "rows", features
    weights.append(_tensor("axis", np.array([1], np.int64), 7))
    for layer in range(layers):
        shapes = {"W": (gates * hidden, width), "R": (gates * hidden, hidden), "B": (2 * gates * hidden,)}
        for name, shape in shapes.items():
            values = (0.05 * rng.standard_normal((1, *shape))).astype(np.float32)
            weights.append(_tensor(f"{name}{layer}", values, 1))
        states = [f"{kind}{layer}" for kind in kinds]
        inputs += [_value(state, 1, 1, hidden) for state in states]
        outputs += [_value(f"{state}_next", 1, 1, hidden) for state in states]
        taken = [rows, f"W{layer}", f"R{layer}", f"B{layer}", "", *states]
        attributes = {"hidden_size": hidden, **({"linear_before_reset": 1} if cell == "gru" else {})}
        given = [f"directions{layer}", *(f"{state}_next" for state in states)]
        nodes.append(_node(cell.upper(), taken, given, attributes))
        nodes.append(_node("Squeeze", [f"directions{layer}", "axis"], [f"rows{layer}"], {}))
        rows, width = f"rows{layer}", hidden
    outputs.append(_value(rows, 1, 1, hidden))
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, b"stack") + b"".join(_field(5, w) for w in weights)
    graph += b"".join(_field(11, i) for i in inputs) + b"".join(_field(12, o) for o in outputs)
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 17))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(operator: str, inputs: list[str], outputs: list[str], attributes: dict[str, int]) -> bytes:
    out = b"".join(_field(1, name.encode()) for name in inputs) + b"".join(_field(2, name.encode()) for name in outputs)
    out += _field(4, operator.encode())
    for name, value in attributes.items():
        out += _field(5, _field(1, name.encode()) + _number(3, value) + _number(20, 2))  # type INT
    return out


def _tensor(name: str, values: np.ndarray, kind: int) -> bytes:
    dims = b"".join(_number(1, size) for size in values.shape)
    return dims + _number(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _value(name: str, *shape: int) -> bytes:
    dims = b"".join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, dims)))
