"""The process that runs cases of one kind: `python -m tests.fuzz.worker KIND SEED CASES SECONDS FOLDER FD`.

It writes a line of JSON to the file descriptor FD for every few cases and for each new finding. `FOLDER/input` and
`FOLDER/running.json` are the case that runs.
"""

import faulthandler
import json
import os
import resource
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from .contract import CASE_BYTES, Case, judge

REPORT_EVERY = 50  # cases
BATCH = 250  # cases from one seed: few, so that what hypothesis remembers of them stays small


def limit_memory() -> None:
    """From here on, so many bytes more. What asks for them gets a MemoryError."""
    status = Path("/proc/self/statm")
    if status.exists():  # elsewhere only the peak is measured
        used = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + CASE_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Worker:
    """Runs cases, and tells what came of them."""

    def __init__(self, kind: str, seconds: int, folder: Path, report_to: int) -> None:
        self.seconds = seconds
        self.kind = import_module(f".{kind}", __package__)
        self.folder, self.input = folder, folder / "input"
        self.report_to = os.fdopen(report_to, "w", buffering=1)
        self.sizes: dict[str, int] = {}  # of the smallest input of each sort of finding
        self.batch = self.number = 0
        self.clear()
        self.kind.prepare(folder)
        faulthandler.enable()
        faulthandler.register(signal.SIGALRM, all_threads=False, chain=True)  # then the signal ends the process

    def clear(self) -> None:
        self.counts: dict[str, Any] = {"cases": 0, "refused": 0, "broken": 0, "slowest": 0.0, "growth": 0}

    def tell(self, **message: Any) -> None:
        self.report_to.write(json.dumps(message) + "\n")

    def one(self, case: Case) -> None:
        self.input.write_bytes(case.content)
        told = {"seed": self.batch, "number": self.number, "options": repr(case.options)[:2_000]}
        (self.folder / "running.json").write_text(json.dumps(told))
        self.number += 1
        before, started = peak_bytes(), time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        outcome = judge(self.kind.run, case, self.input)
        signal.setitimer(signal.ITIMER_REAL, 0)
        seconds, growth = time.perf_counter() - started, peak_bytes() - before
        self.counts["cases"] += 1
        self.counts["slowest"] = max(self.counts["slowest"], seconds)
        self.counts["growth"] = max(self.counts["growth"], growth)
        finding, sort = outcome.finding, outcome.sort
        if growth > CASE_BYTES and not finding:
            finding = sort = f"the case took {growth / 1e9:.1f} GB"
        self.counts["broken"] += bool(finding)
        self.counts["refused"] += outcome.refused and not finding
        if finding and len(case.content) < self.sizes.get(sort, 1 << 62):
            self.sizes[sort] = len(case.content)
            self.tell(finding=finding, sort=sort, input=case.content.hex(), **told)
        if self.counts["cases"] >= REPORT_EVERY:
            self.tell(**self.counts)
            self.clear()

    def run(self, first: int, cases: int) -> None:
        while cases > 0:
            self.batch, self.number = first, 0
            quiet = settings(
                max_examples=min(BATCH, cases),
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(first)(quiet(given(self.kind.cases())(self.one)))()
            first, cases = first + 1, cases - BATCH
        self.tell(**self.counts)


def main() -> None:
    kind, first, cases, seconds, folder, report_to = sys.argv[1:]
    os.chdir(folder)  # for SD2 libsndfile writes a file "._" where it stands, and then reads it for others
    worker = Worker(kind, int(seconds), Path(folder), int(report_to))
    limit_memory()
    worker.run(int(first), int(cases))


if __name__ == "__main__":
    main()
