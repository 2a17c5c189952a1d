"""Label tracks as Audacity writes them, as people write them, and damaged."""

import math
import random
from pathlib import Path

from hypothesis import strategies as st

from speechrnn.evaluation import scoring

from .contract import Case
from .mutations import damaged

TRACK = b"0.500000\t1.250000\tyes\r\n\\\t100.0\t4000.0\n2.0\t2.0\tno\n\n3,5\t4\tx\ty\n1e1\t1e2\t_silence_\n"
TIMES = st.one_of(
    st.floats(0.0, 1e5).map(repr),
    st.floats().map(repr),
    st.sampled_from(("", " ", "-0", "nan", "inf", "1e999", "1_0", "0x1", "9" * 5_000, "\u0663", "1,5", "1.5s")),
)
WORDS = st.one_of(st.text(max_size=10), st.sampled_from(("yes", "", "\0", "\x1b[2J", "\u2028", "x" * 5_000)))
LINES = st.one_of(
    st.tuples(TIMES, TIMES, WORDS).map("\t".join),
    st.floats(0.0, 1e3).map(lambda start: f"{start}\t{start + 1.0}\tyes"),
    st.text(max_size=20),
    st.lists(st.sampled_from(("\t", "\\", "1", " ", "\r", "\x85", "yes")), max_size=8).map("".join),
)
TRACKS = st.tuples(st.lists(LINES, max_size=6), st.sampled_from(("\n", "\r\n", "\r", "\n\n")))


def prepare(folder: Path) -> None:
    """Nothing is needed."""


def encoded(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass")


def cases() -> st.SearchStrategy[Case]:
    texts = TRACKS.map(lambda track: track[1].join(track[0]))
    encodings = st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16"))
    seeds = st.integers(0, (1 << 64) - 1)
    contents = st.one_of(
        st.builds(encoded, texts, encodings),
        st.binary(max_size=40),
        seeds.map(lambda seed: damaged(random.Random(seed), TRACK)),
    )
    return st.builds(Case, contents)


def run(case: Case, path: Path) -> None:
    labels = scoring.read_labels(path)
    assert all(0.0 <= label.start <= label.end < math.inf for label in labels)
    again = path.with_name("again.txt")
    scoring.write_labels(again, labels)
    back = scoring.read_labels(again)
    assert [label.word for label in back] == [label.word for label in labels]
