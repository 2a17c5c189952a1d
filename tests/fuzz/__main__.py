"""python -m tests.fuzz: look for input that breaks the contract (see `tests.fuzz`)."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .campaign import SHARES, Summary, fuzz
from .worker import BATCH

PIECE = 5_000  # cases in a process, so that what it has gathered by then goes


def main(
    cases: Annotated[int, typer.Option(min=1, help="How many, of all kinds together")] = 20_000,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Only this one, of {', '.join(SHARES)}; can be repeated")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the first 250 cases of a kind; the next 250 have the next one")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes at a time")] = os.cpu_count() or 1,
    save_to: Annotated[Path, typer.Option(help="Folder for the inputs of findings")] = Path("fuzz-findings"),
) -> None:
    """Fuzz the doors of the package; exit code 1 if a case breaks the contract.

    Example: python -m tests.fuzz --kind cards --cases 5000 --seed 7
    """
    kinds = list(dict.fromkeys(kind or SHARES))
    unknown = set(kinds) - set(SHARES)
    if unknown:
        raise typer.BadParameter(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(SHARES)}")
    whole = sum(SHARES[name] for name in kinds)
    summaries = {name: Summary(name) for name in kinds}
    columns = TextColumn("{task.description:>11}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        pieces = []
        for name in kinds:
            count = max(1, round(cases * SHARES[name] / whole))
            task = progress.add_task(name, total=count)
            for number, start in enumerate(range(0, count, PIECE)):
                size = min(PIECE, count - start)
                advance = lambda done, task=task: progress.advance(task, done)  # noqa: E731
                pieces.append((name, pool.submit(fuzz, name, size, seed + number * PIECE // BATCH, save_to, advance)))
        for name, piece in pieces:
            summaries[name].add(piece.result())
    report(list(summaries.values()))
    if any(summary.findings for summary in summaries.values()):
        raise typer.Exit(1)


def report(summaries: list[Summary]) -> None:
    table = Table("kind", "cases", "refused", "fine", "findings", "slowest", "most memory")
    for column in table.columns[1:]:
        column.justify = "right"
    for s in summaries:
        counts = (f"{number:,}" for number in (s.cases, s.refused, s.fine, s.broken))
        table.add_row(s.kind, *counts, f"{s.slowest:.2f} s", f"{s.growth / 1e6:.0f} MB")
    console = Console()
    console.print(table)
    for s in summaries:
        for finding in s.findings.values():
            console.print(f"{finding.saved}: {escape(finding.sort)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
