"""Not a kind: a case breaks the contract in a way of its own (FUZZ_ONLY), to see that the fuzzers notice."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from speechrnn.errors import AudioError

from .contract import Case


class Careless(AudioError):
    """Says what it is given, as none of ours does any more."""

    def __init__(self, message: str) -> None:
        ValueError.__init__(self, message)


def refuse(message: str) -> Callable[[], None]:
    def refuse_with_it() -> None:
        raise Careless(message)

    return refuse_with_it


def fail(error: BaseException) -> Callable[[], None]:
    def fail_with_it() -> None:
        raise error

    return fail_with_it


WAYS: dict[str, Callable[[], object]] = {
    "fine": lambda: None,
    "refused": refuse("x.wav: is empty: record it again"),
    "two lines": refuse("x.wav\nis empty"),
    "escape": refuse("\x1b[2J: is empty"),
    "long": refuse("x" * 601),
    "foreign": fail(KeyError("x")),
    "exit": fail(SystemExit(0)),
    "warning": lambda: np.log(np.zeros(1)),
    "memory": lambda: bytearray(1 << 31),
    "hang": lambda: time.sleep(60),
    "crash": os.abort,
}


def prepare(folder: Path) -> None:
    """Nothing is needed."""


def cases() -> st.SearchStrategy[Case]:
    return st.sampled_from([os.environ.get("FUZZ_ONLY", "fine"), "fine", "refused"]).map(lambda way: Case(way.encode()))


def run(case: Case, path: Path) -> None:
    assert path.read_bytes() == case.content
    WAYS[case.content.decode()]()
