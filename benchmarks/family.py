"""python -m benchmarks.family MODEL.onnx FOLDER: all the smaller files of a model, and one table of what they cost.

Times are medians of runs taken in turns, on one thread; the ratios to the float32 file carry over to other machines.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from speechrnn.errors import InputError
from speechrnn.export.options import ClipsOption, PartitionOption
from speechrnn.export.precision import Weights
from speechrnn.export.quantize import exports
from speechrnn.files import check_free, write
from speechrnn.model import Model
from speechrnn.programs import OverwriteOption, report_errors
from speechrnn.terminal import plain_console
from speechrnn.text import printable
from speechrnn.timing import block_times, clip_times, paired_ratio


def paths(model: Model, folder: Path) -> list[Path]:
    """Where the smaller files go, one for each of `Weights`."""
    return [folder / f"{Path(model.name).stem}-{kind.value}.onnx" for kind in Weights]


def make(
    model: Model, folder: Path, clips: Path | None = None, partition: str | None = None, overwrite: bool = False
) -> list[dict]:
    """Write `FOLDER/NAME-int8.onnx` and `-float16.onnx`; a row of figures for each file, the model's own first.

    Raises
    ------
    InputError
        if one of them can't be made or written, or is there and `overwrite` is False
    """
    kinds = list(Weights)
    made = exports(model, kinds, clips, partition)
    files = paths(model, folder)
    for file, export in zip(files, made, strict=True):
        write(file, export.content, overwrite=overwrite)
    first = made[0].comparison
    closeness = [(1.0, 0.0, first.reference_accuracy)]
    closeness += [(c.agreement, c.largest_error, c.accuracy) for c in (export.comparison for export in made)]
    family = [model, *map(Model, files)]
    blocks, clip_seconds = block_times(family), clip_times(family)
    return [
        {
            "file": member.name,
            "MB": len(member.content) / 1e6,
            "size_ratio": len(member.content) / len(model.content),
            "clips": first.clips,
            "label_agreement": agreement,
            "largest_probability_error": error,
            "accuracy": accuracy,
            "block_ms": 1000 * float(np.median(block)),
            "block_ratio": paired_ratio(block, blocks[0]),
            "clip_ms": 1000 * float(np.median(clip)),
            "clip_ratio": paired_ratio(clip, clip_seconds[0]),
        }
        for member, (agreement, error, accuracy), block, clip in zip(
            family, closeness, blocks, clip_seconds, strict=True
        )
    ]


def main(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="a float32 ONNX file of ours")],
    folder: Annotated[Path, typer.Argument(help="where the files go")],
    clips: ClipsOption = None,
    partition: PartitionOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Store a model as int8 and float16, compare and time the files, and print one table.

    Example: python -m benchmarks.family model.onnx build --clips ../data/speech_commands --partition validation
    """
    with report_errors():
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder: make it first")
        model = Model(model_path)
        check_free(paths(model, folder), "FOLDER", overwrite, model.path)
        rows = make(model, folder, clips, partition.value if partition else None, overwrite)
        if as_json:
            sys.stdout.write(json.dumps(rows, indent=2) + "\n")
            return
        table = Table("file", "MB", "same label", "largest error", "accuracy", "ms per block", "ms per clip of 1 s")
        for row in rows:
            table.add_row(
                printable(Path(row["file"]).name),
                f"{row['MB']:.3f} ({row['size_ratio']:.3f})",
                f"{row['label_agreement']:.2%}",
                f"{row['largest_probability_error']:.4f}",
                f"{row['accuracy']:.2%}" if row["accuracy"] is not None else "-",
                f"{row['block_ms']:.3f} ({row['block_ratio']:.2f})",
                f"{row['clip_ms']:.2f} ({row['clip_ratio']:.2f})",
            )
        console = plain_console(width=None if sys.stdout.isatty() else 120)
        console.print(table)
        console.print(f"{rows[0]['clips']} clips; in brackets: ratio to the first row", highlight=False)


if __name__ == "__main__":
    typer.run(main)
