"""`speechrnn bench`: what inference costs on this machine."""

import contextlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from speechrnn import long_run
from speechrnn.errors import InputError, ModelError
from speechrnn.long_run import LongRun
from speechrnn.programs import report_errors, say
from speechrnn.progress import SoundProgress
from speechrnn.text import printable
from speechrnn.timing import block_times, clip_times, paired_ratio, seconds

if TYPE_CHECKING:
    from rich.table import Table

    from speechrnn.model import Model

SAME = 1e-3  # posteriors of a long run may differ so much from hour to hour
FLAT = 1.05  # and the memory may grow by so much after the first minute


def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="[MODEL...]", help="ONNX files; the shipped one if left out")
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.0, help="Also process so many hours of noise without a pause: does the memory grow?")
    ] = 0.0,
    clip: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --hours, a word to play once an hour: is it found as in the first?"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
) -> None:
    """Measure on one thread what a 20 ms block, a clip, a cold start and the memory cost; a column for each model.

    The ratios compare a block with a bare ONNX recurrent step of the same size, and with a block of the first model,
    timed in turns in the same run: machines differ and are noisy, ratios less so. A model that can't be used is
    reported and the rest go on; the exit code is then 1, or 2 if none could be used. It is 1, too, if the word of
    --clip is missed in an hour, if a posterior differs by more than 0.001 from the first hour's, or if memory grows.

    Example: speechrnn bench model.onnx model-int8.onnx --hours 24 --clip examples/yes.wav
    """
    with report_errors():
        if clip and hours < 1.0:
            raise InputError("--clip: is played once an hour: give --hours 1 or more, for instance --hours 24")
        rows, failures = [], 0
        usable: list[tuple[Model, Callable[[], object]]] = []
        for path in models or (None,):
            try:
                usable.append(_with_reference(path))
            except ModelError as error:
                say(str(error))
                failures += 1
        if usable:
            measured = [model for model, _ in usable]
            if clip:
                for model in measured:
                    long_run.word_of(model, clip)
            rows = _measure(measured, [step for _, step in usable])
            for model, row, run in zip(measured, rows, _long_runs(measured, hours, clip), strict=True):
                row |= {"peak_memory_MB": run.minute_MB}
                row |= {"memory_ratio_after_hours": run.memory_ratio} if hours and run.memory_ratio else {}
                row |= _in_hours(run) if run.hours else {}
                for complaint in _complaints(Path(model.name), run):
                    say(complaint)
                    failures += 1
            (_print_json if as_json else _print_table)(rows)
        if failures:
            raise typer.Exit(1 if rows else 2)


def _with_reference(path: Path | None) -> tuple["Model", Callable[[], object]]:
    from speechrnn.model import Model

    model = Model(path)
    return model, _recurrent_step(model)


def _print_json(rows: list[dict]) -> None:
    sys.stdout.write(json.dumps(rows, indent=2) + "\n")


def _print_table(rows: list[dict]) -> None:
    from rich.table import Table
    from rich.text import Text

    from speechrnn.terminal import plain_console

    title = f"{rows[0]['processor']}, onnxruntime {rows[0]['onnxruntime']}, one thread"
    table = Table("measure", title=Text(title))
    for name in _names([Path(row["model"]) for row in rows]):
        table.add_column(Text(name))
    for key in rows[0]:
        if key not in ("model", "processor", "onnxruntime", "each_hour"):
            cells = (row.get(key) for row in rows)
            table.add_row(key.replace("_", " "), *map(_cell, cells))
    console = plain_console()
    console.print(table)
    for row in rows:
        if "each_hour" in row:
            console.print(_table_of_hours(row))


def _table_of_hours(row: dict) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("hour", "word", "probability", "difference", "peak memory MB", title=Text(printable(row["model"])))
    for hour in row["each_hour"]:
        figures = f"{hour['probability']:.4f}", f"{hour['difference']:.1e}", _cell(hour["peak_memory_MB"])
        table.add_row(str(hour["hour"]), "found" if hour["found"] else "missed", *figures)
    return table


def _cell(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _names(paths: list[Path]) -> list[str]:
    """What stands above the columns: the files' names, or their paths where names are the same."""
    names = [printable(path.name) for path in paths]
    return names if len(set(names)) == len(names) else [printable(str(path)) for path in paths]


def _measure(models: "list[Model]", steps: list[Callable[[], object]]) -> list[dict]:
    """A row of figures for each model; `steps` are the bare recurrent steps that they are compared with."""
    from speechrnn.inference import VERSION

    times = block_times(models, steps)
    rows = []
    for i, (model, every) in enumerate(zip(models, clip_times(models), strict=True)):
        block, step = times[2 * i], times[2 * i + 1]
        middle = float(np.median(block))
        row = {
            "model": model.name,
            "processor": processor(),
            "onnxruntime": VERSION,
            "weights": str(model.card.figures.get("weights", "float32")),
            "file_MB": len(model.content) / 1e6,
            "block_ms": 1000 * middle,
            "block_p99_ms": 1000 * float(np.quantile(block, 0.99)),
            "recurrent_step_ms": 1000 * float(np.median(step)),
            "block_to_recurrent_step_ratio": paired_ratio(block, step),
        }
        row |= {"block_to_first_model_ratio": paired_ratio(block, times[0])} if len(models) > 1 else {}
        row |= {
            "real_time_factor": middle / model.card.block_seconds,
            "clip_of_1_s_ms": 1000 * statistics.median(every),
            "cold_start_s": _cold_start(Path(model.name)),
        }
        rows.append(row)
    return rows


def processor() -> str:
    """What this machine calls itself: a board's name, a processor's, or only its kind."""
    with contextlib.suppress(OSError):  # of a Raspberry Pi and its kin; ends with a zero
        return Path("/proc/device-tree/model").read_text(errors="replace").rstrip("\0\n")
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _long_runs(models: "list[Model]", hours: float, clip: Path | None) -> list[LongRun]:
    """Minutes or hours of sound through each model; with a progress bar if they are hours."""
    seconds = max(60.0, 3600.0 * hours)
    runs = []
    for model in models:
        bar = SoundProgress("hours of sound", lambda: seconds) if hours else contextlib.nullcontext()
        with bar as progress:
            advance = progress.advance if progress else lambda seconds: None
            runs.append(long_run.run(Path(model.name), seconds, clip, advance=advance))
    return runs


def _in_hours(run: LongRun) -> dict:
    """The figures of a long run with a word in it."""
    found = sum(hour.found for hour in run.hours)
    return {
        "hours_with_word_found": f"{found} of {len(run.hours)}",
        "largest_difference_of_probability": max(hour.difference for hour in run.hours),
        "each_hour": [asdict(hour) for hour in run.hours],
    }


def _complaints(path: Path, run: LongRun) -> Iterator[str]:
    """What shouldn't have come of a long run."""
    missed = [str(hour.hour) for hour in run.hours if not hour.found]
    if missed:
        yield f"{path}: the word wasn't found in hour {', '.join(missed)}"
    difference = max((hour.difference for hour in run.hours), default=0.0)
    if difference > SAME:
        yield f"{path}: the same sound has other probabilities hours later, by {difference:.1e}"
    if (run.memory_ratio or 0.0) > FLAT:
        yield f"{path}: its memory has grown to {run.memory_ratio:.2f} times that of the first minute"


def _cold_start(path: Path, runs: int = 5) -> float:
    """Seconds from a shell's prompt to a label; median."""
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.wav"
        soundfile.write(clip, np.zeros(16_000), 16_000)
        command = [sys.executable, "-m", "speechrnn", "classify", str(clip), "--model", str(path)]
        run = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        return statistics.median(seconds(run) for _ in range(runs))


def _recurrent_step(model: "Model") -> Callable[[], object]:
    """One step of a bare recurrent stack of the model's size in onnxruntime, state in and out, with random weights."""
    from speechrnn.inference import session

    step = session(recurrent_stack(*model.card.recurrent_stack(model.name)))
    inputs = {i.name: np.zeros(i.shape, np.float32) for i in step.get_inputs()}
    return lambda: step.run(None, inputs)


def recurrent_stack(cell: str, features: int, hidden: int, layers: int) -> bytes:
    """The ONNX file of one step of a recurrent stack with random weights.

    Its inputs and outputs are the rows [1, 1, features or hidden] and the states of each layer [1, 1, hidden]. It is
    written field by field (onnx.proto), since the onnx package is no dependency of the runtime.
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
