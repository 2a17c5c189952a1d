"""Training configs: those of the repository changed and damaged, other TOML, and `--set` with anything."""

import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from speechrnn.training import config

from .contract import ROOT, Case
from .mutations import damaged

SEEDS = st.integers(0, (1 << 64) - 1)
VALUES = st.one_of(
    st.sampled_from(("0", "-1", "1", "1.5", "true", '""', "[]", "{}", "nan", "-inf", "1e400", "0x1", "2020-01-01")),
    st.sampled_from(("[" * 3_000, "{a=" * 500, "9" * 5_000, "1" + "0" * 400)),
    st.sampled_from(('"\\u0000"', "'\x1b[2J'", "[1, 'a']", "{x=1}")),
    st.integers().map(str),
    st.floats().map(repr),
    st.text(max_size=10),
    st.text(max_size=10).map(lambda text: f"'{text}'"),
)
STRANGE_KEYS = ("base", "data", "train.x.y", "", ".", "a..b", "\0", "é")


def prepare(folder: Path) -> None:
    global FILES, KEYS
    FILES = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.toml"))]
    for path in (ROOT / "configs").glob("*.toml"):  # what others name as their base
        (folder / path.name).write_bytes(path.read_bytes())
    tables = asdict(config.Config())
    KEYS = [f"{table}.{key}" for table, values in tables.items() if isinstance(values, dict) for key in values]
    KEYS += [key for key, value in tables.items() if not isinstance(value, dict)]


def damaged_file(seed: int) -> bytes:
    rng = random.Random(seed)
    return damaged(rng, rng.choice(FILES), FILES, largest=1 << 16)


@st.composite
def assignments(draw: st.DrawFn) -> str:
    """`table.key=value`, mostly of a setting that there is."""
    key = draw(st.sampled_from(KEYS) | st.sampled_from((*STRANGE_KEYS, *KEYS)))
    return f"{key}={draw(VALUES)}" if draw(st.integers(0, 19)) else draw(st.text(max_size=10))


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A file of assignments."""
    lines = draw(st.lists(assignments(), max_size=4))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def cases() -> st.SearchStrategy[Case]:
    contents = st.one_of(st.just(b""), st.just(b""), texts(), SEEDS.map(damaged_file))
    overrides = st.lists(assignments(), max_size=3).map(lambda chosen: {"overrides": chosen})
    return st.builds(Case, contents, overrides)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers(inner)]
    return [value] if isinstance(value, int | float) else []


def run(case: Case, path: Path) -> None:
    chosen = config.load(path, case.options["overrides"])
    assert isinstance(chosen, config.Config)
    assert all(map(math.isfinite, numbers(asdict(chosen))))
    assert config.from_dict(asdict(chosen)) == chosen
