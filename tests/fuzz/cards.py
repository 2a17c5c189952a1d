"""Model cards: a shipped one with values that don't belong there, damaged text, and JSON of any kind.

A card that is taken must be usable: it describes itself as JSON again, has settings within bounds and texts that can be
printed, and a model that carries it hears a clip and a stream.
"""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st

import speechrnn
from speechrnn import card
from speechrnn.cli.bench import _field

from .contract import Case, acts_on_terminal, check_posteriors
from .mutations import damaged

SOUND = (0.1 * np.random.default_rng(0).standard_normal(3_200)).astype(np.float32)
TEXTS = ("", "yes", "_silence_", "\0", "a\nb", "\x1b[2J\x1b]0;x\x07", "\ud800", "\u202eyes", "\u2028", "x" * 5_000, "é")
NUMBERS = (0, 1, -1, 2, 0.5, -0.0, 1e-300, 1e5, 1e15, 1e308, -1e308, math.nan, math.inf, -math.inf, 10**30, 1 << 63)
SCALARS = st.one_of(
    *(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.text(max_size=8), st.none(), st.booleans()),
    *(st.integers(), st.floats()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)


def prepare(folder: Path) -> None:
    global SHIPPED, BARE
    model = speechrnn.load("gru-12-small")
    SHIPPED = json.loads(model.card.to_json())
    proto = onnx.load(model.path)
    del proto.metadata_props[:]
    BARE = proto.SerializeToString()


def places(value: Any, above: tuple = ()) -> list[tuple]:
    """The keys that lead to each value in nested lists and dictionaries."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, below in inner for place in places(below, (*above, key)))]


@st.composite
def changed(draw: st.DrawFn) -> str:
    """The shipped card with some values replaced, removed or doubled."""
    values = json.loads(json.dumps(SHIPPED))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(values)[1:]))
        holder = values
        for key in path:
            holder = holder[key]
        what = draw(st.sampled_from(("replace", "replace", "replace", "scale", "remove", "rename")))
        if what == "replace":
            holder[last] = draw(VALUES)
        elif what == "scale" and isinstance(holder[last], int | float):
            holder[last] *= draw(st.sampled_from((-1, 0, 0.5, 2, 10, 1e3, 1e5, 1e9)))
        elif what == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=4))] = holder.pop(last)
        else:
            del holder[last]
        if not values:
            break
    return json.dumps(values, ensure_ascii=draw(st.booleans()))


@st.composite
def renamed(draw: st.DrawFn) -> str:
    """The shipped card with another name for a word, everywhere: what a stranger's model may have."""
    old = draw(st.sampled_from(SHIPPED["labels"]))
    new = draw(st.sampled_from(TEXTS) | st.text(max_size=12))
    values = dict(SHIPPED)
    for key in ("labels", "words"):
        values[key] = [new if word == old else word for word in SHIPPED[key]]
    values["thresholds"] = {new if word == old else word: value for word, value in SHIPPED["thresholds"].items()}
    return json.dumps(values)


def damaged_text(seed: int) -> bytes:
    return damaged(random.Random(seed), json.dumps(SHIPPED, ensure_ascii=False).encode(), largest=1 << 16)


def cases() -> st.SearchStrategy[Case]:
    texts = st.one_of(changed(), changed(), renamed(), VALUES.map(json.dumps)).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
    seeds = st.integers(0, (1 << 64) - 1)
    return st.builds(Case, texts | seeds.map(damaged_text))


def run(case: Case, path: Path) -> None:
    try:
        text = case.content.decode()
    except UnicodeDecodeError:
        text = None  # the model itself must find out
    if text is not None:
        read = card.from_json(text, "model.onnx")
        assert card.from_json(read.to_json(), "model.onnx") == read
        for shown in (read.name, *read.labels, *read.words, *read.training_data):
            assert not acts_on_terminal(shown), f"{shown!r} would reach a terminal"
    path.write_bytes(BARE + _field(14, _field(1, card.METADATA_KEY.encode()) + _field(2, case.content)))
    model = speechrnn.load(str(path))
    check_posteriors(model.posteriors(SOUND), len(model.labels))
    assert math.isfinite(model.classify(SOUND).probability)
    spotter = speechrnn.Spotter(model)
    spotter.process(SOUND)
    spotter.finish()
