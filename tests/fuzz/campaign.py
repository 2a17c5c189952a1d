"""Cases of a kind, run in processes of their own; what became of them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .contract import CASE_SECONDS, ROOT
from .worker import BATCH

CASES = 20_000  # of all kinds, in the slow tier
FEW = 150  # of each kind at most, in the first
SHARES = {  # of the cases; those that are slow get fewer
    "sounds": 0.5,
    "cards": 0.08,
    "graphs": 0.02,
    "labels": 0.08,
    "configs": 0.1,
    "checkpoints": 0.01,
    "streams": 0.14,
    "archives": 0.07,
}


@dataclass(frozen=True)
class Finding:
    """How a case broke the contract, and where its input was saved."""

    sort: str
    what: str
    saved: Path


@dataclass
class Summary:
    """Of one kind: how many cases, what became of them, the slowest in seconds, the largest growth in bytes."""

    kind: str
    cases: int = 0
    refused: int = 0
    broken: int = 0
    slowest: float = 0.0
    growth: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def fine(self) -> int:
        return self.cases - self.refused - self.broken

    def add(self, other: "Summary") -> None:
        """Of each sort of finding, the smaller input stays."""
        self.cases += other.cases
        self.refused += other.refused
        self.broken += other.broken
        self.slowest, self.growth = max(self.slowest, other.slowest), max(self.growth, other.growth)
        for sort, finding in other.findings.items():
            known = self.findings.get(sort)
            if known is None or finding.saved.stat().st_size < known.saved.stat().st_size:
                self.findings[sort] = finding


def fuzz(
    kind: str,
    cases: int,
    seed: int = 0,
    save_to: Path | None = None,
    advance: Callable[[int], None] = lambda cases: None,
    seconds: int = CASE_SECONDS,
) -> Summary:
    """Run so many cases of a kind, in batches whose seeds count on from `seed`.

    A process that dies is a finding; another one goes on with the batch after it.
    """
    summary = Summary(kind)
    save_to = save_to or Path(tempfile.mkdtemp(prefix="fuzz-"))
    save_to.mkdir(parents=True, exist_ok=True)
    first = seed
    while (left := cases - (first - seed) * BATCH) > 0:
        first = _one_process(summary, first, left, save_to, advance, seconds)
    return summary


def _one_process(
    summary: Summary, first: int, cases: int, save_to: Path, advance: Callable[[int], None], seconds: int
) -> int:
    """Fuzz until the cases are done or the process dies; returns the seed of the batch to go on with."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        receive, send = os.pipe()
        arguments = summary.kind, first, cases, seconds, folder, send
        command = [sys.executable, "-m", "tests.fuzz.worker", *map(str, arguments)]
        with (folder / "output").open("wb") as output:
            child = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[send], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            os.close(send)
            with os.fdopen(receive) as reports:
                for line in reports:
                    _take(summary, json.loads(line), save_to, advance)
            code = child.wait()
        if code == 0:
            return first + -(-cases // BATCH)
        said = (folder / "output").read_text(errors="replace")[-4_000:]
        running = folder / "running.json"
        if not running.exists():
            raise RuntimeError(f"fuzzing {summary.kind} didn't start:\n{said}")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        told = json.loads(running.read_text())
        died = {"sort": f"the process died: {how}", "finding": said, "input": (folder / "input").read_bytes().hex()}
        summary.add(Summary(summary.kind, cases=1, broken=1))
        _take(summary, told | died, save_to, advance)
        return told["seed"] + 1


def _take(summary: Summary, told: dict, save_to: Path, advance: Callable[[int], None]) -> None:
    if "finding" not in told:
        summary.add(Summary(summary.kind, **told))
        advance(told["cases"])
        return
    known = summary.findings.get(told["sort"])
    saved = known.saved if known else save_to / f"{summary.kind}-{told['seed']}-{told['number']}"
    if known and known.saved.stat().st_size <= len(told["input"]) // 2:
        return
    saved.write_bytes(bytes.fromhex(told["input"]))
    where = f"{summary.kind}, seed {told['seed']}, case {told['number']}, options {told['options']}"
    what = f"{told['sort']}\n{where}\n\n{told['finding']}"
    saved.with_name(saved.name + ".txt").write_text(what)
    summary.findings[told["sort"]] = Finding(told["sort"], what, saved)


def holds(kind: str, folder: Path, most: int = CASES) -> None:
    """Fuzz a kind's share of all cases, or `most`, and see that something was refused, something not, nothing wrong."""
    cases = min(round(CASES * SHARES[kind]), most)
    summary = fuzz(kind, cases, save_to=folder)
    assert not summary.findings, "\n\n".join(finding.what for finding in summary.findings.values())
    assert summary.cases == cases
    assert summary.refused > summary.cases // 20
    assert summary.fine > summary.cases // 20
