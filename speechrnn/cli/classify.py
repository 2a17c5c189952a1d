"""`speechrnn classify`: the labels of clips."""

import csv
import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechrnn.channels import parse
from speechrnn.cli.options import ChannelOption
from speechrnn.errors import AudioError, InputError
from speechrnn.programs import ModelOption, report_errors, say
from speechrnn.progress import with_progress
from speechrnn.terminal import in_cell, in_line, plain_console

if TYPE_CHECKING:
    from speechrnn.decision import Classification

Result = tuple[str, "Classification"]


class Format(StrEnum):
    """How results are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def classify(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs, or - for stdin")],
    format: Annotated[Format, typer.Option("--format", "-f", help="How to write the results")] = Format.table,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="Show the K most probable labels", metavar="K")] = 1,
    channel: ChannelOption = "mean",
    model: ModelOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core")] = 0,
) -> None:
    """Label clips of up to a minute with the word that is said in them.

    A file that can't be used is reported and the rest go on; the exit code is then 1, or 2 if none could be used.
    Of folders, files are taken by their endings, through links too; what is left out is named, in one line for each
    reason. Hidden files don't change the exit code, what holds sound does. M4A, WebM, MP4, AAC, WMA and the like need
    PyAV (the extra named media) or ffmpeg.

    Example: speechrnn classify recordings/ --format jsonl --top 3
    """
    with report_errors():
        from speechrnn.cli.stdin import stdin_file
        from speechrnn.model import Model

        taken = parse(channel)
        classifier = Model(model)
        files, failures = find(paths)
        sounds = (stdin_file() if name == "-" else name for name in files)
        found = classifier.classify_many(sounds, workers or (1 if len(files) == 1 else None), taken)
        results = zip(files, found, strict=True)

        def good() -> Iterator[Result]:
            nonlocal failures
            for name, result in with_progress(results, len(files)):
                if isinstance(result, AudioError):
                    say(str(result))
                    failures += 1
                else:
                    yield name, result

        written = WRITERS[format](good(), min(top, len(classifier.labels)))
        if failures:
            raise typer.Exit(1 if written else 2)


def find(paths: Iterable[str]) -> tuple[list[str], int]:
    """The sound files that the arguments name, in order, and how much was named in vain (it is reported).

    In vain is an argument that names nothing, and what lies in a folder, is sound and can't be read.
    """
    files: list[str] = []
    failures = 0
    for path in paths:
        try:
            if path == "-" or os.path.isfile(path):  # Path.is_file raises for a name that is too long
                files.append(path)
            elif os.path.isdir(path):
                failures += _find_in(path, files)
            elif glob.has_magic(path):
                found = sorted(glob.glob(path, recursive=True))
                # `**` names folders and what is in them.
                folders = [] if "**" in path else [name for name in found if os.path.isdir(name)]
                named = [name for name in found if os.path.isfile(name)]
                if not named and not folders:
                    raise InputError(f"{path}: no file has such a name")
                files += named
                failures += sum(_find_in(folder, files) for folder in folders)
            else:
                files.append(path)  # reading it tells what is wrong
        except InputError as error:
            say(str(error))
            failures += 1
    return files, failures


def _find_in(path: str, files: list[str]) -> int:
    """Add the sound files of a folder; say what is left out, and return how much of it is sound."""
    from speechrnn.folders import nothing_in, search

    folder = search(Path(path))
    for remark in folder.remarks():
        say(remark)
    if not folder.files:
        raise nothing_in(folder.path)
    files += map(str, folder.files)
    return folder.unread()


def _record(name: str, result: "Classification", top: int) -> dict:
    record = {"path": name, "label": result.label, "probability": round(result.probability, 6)}
    if top > 1:
        best = list(result.posterior.items())[:top]
        record["top"] = [{"label": label, "probability": round(p, 6)} for label, p in best]
    return record


def _write_jsonl(results: Iterator[Result], top: int) -> int:
    count = 0
    for name, result in results:
        sys.stdout.write(json.dumps(_record(name, result, top)) + "\n")
        count += 1
    return count


def _write_json(results: Iterator[Result], top: int) -> int:
    records = [_record(name, result, top) for name, result in results]
    sys.stdout.write(json.dumps(records, indent=2) + "\n")
    return len(records)


def _write_csv(results: Iterator[Result], top: int) -> int:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    more = [f"{column}_{k}" for k in range(2, top + 1) for column in ("label", "probability")]
    writer.writerow(["path", "label", "probability", *more])
    count = 0
    for name, result in results:
        count += 1
        best = list(result.posterior.items())[:top]
        writer.writerow(
            [
                in_cell(name, sys.stdout),
                *(f"{cell:.6f}" if isinstance(cell, float) else cell for pair in best for cell in pair),
            ]
        )
    return count


def _write_table(results: Iterator[Result], top: int) -> int:
    rows = [
        (
            in_line(name, sys.stdout),
            "  ".join(f"{label} {p:.3f}" for label, p in list(result.posterior.items())[:top]),
            result,
        )
        for name, result in results
    ]
    if sys.stdout.isatty() and rows:
        from rich.table import Table
        from rich.text import Text

        table = Table("clip", "label", "probability", *(["most probable"] if top > 1 else []))
        for name, best, result in rows:
            more = [best] if top > 1 else []
            table.add_row(Text(name), Text(result.label, style="bold green"), f"{result.probability:.3f}", *more)
        plain_console().print(table)
    else:
        width = max((len(name) for name, _, _ in rows), default=0)
        sys.stdout.writelines(f"{name:<{width}}  {best}\n" for name, best, _ in rows)
    return len(rows)


WRITERS: dict[Format, Callable[[Iterator[Result], int], int]] = {
    Format.table: _write_table,
    Format.json: _write_json,
    Format.jsonl: _write_jsonl,
    Format.csv: _write_csv,
}
