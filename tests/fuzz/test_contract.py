"""The fuzzers notice what breaks the contract, whatever it does to their process."""

import pytest

from tests.fuzz import broken
from tests.fuzz.campaign import fuzz
from tests.fuzz.contract import Case, judge, wrong_with
from tests.fuzz.worker import BATCH

IN_PROCESS = {
    "two lines": "isn't one line",
    "escape": "isn't printable",
    "long": "longer than 600",
    "foreign": "KeyError",
    "exit": "SystemExit",
    "warning": "RuntimeWarning",
}


@pytest.mark.parametrize("way", IN_PROCESS)
def test_what_is_wrong_is_told(way, tmp_path):
    outcome = broken_way(way, tmp_path)
    assert IN_PROCESS[way] in outcome.sort
    assert outcome.finding


def test_what_is_right_is_not(tmp_path):
    assert broken_way("fine", tmp_path) == judge(lambda case, path: None, Case(b""), tmp_path)
    refused = broken_way("refused", tmp_path)
    assert refused.refused
    assert not refused.finding


def broken_way(way, folder):
    (folder / "input").write_bytes(way.encode())
    return judge(broken.run, Case(way.encode()), folder / "input")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["memory", "hang", "crash"])
def test_a_process_that_dies_or_swells_is_told_by_its_input(way, tmp_path, monkeypatch):
    monkeypatch.setenv("FUZZ_ONLY", way)
    seeds = 2
    summary = fuzz("broken", seeds * BATCH, seed=5, save_to=tmp_path, seconds=1)
    [finding] = summary.findings.values()
    assert {"memory": "MemoryError", "hang": "SIGALRM", "crash": "SIGABRT"}[way] in finding.sort
    assert finding.saved.read_bytes() == way.encode()
    assert "seed 5, case " in finding.saved.with_name(finding.saved.name + ".txt").read_text()
    assert summary.broken >= (1 if way == "memory" else seeds), "the batch after it was run too"


def test_messages():
    assert not wrong_with("é.wav: is empty (0 bytes): record it again")
    for message in ("", "a\nb", "a\x85b", "a\rb", "\0", "\u202e", "\ud800", "x" * 601):
        assert wrong_with(message), ascii(message)
