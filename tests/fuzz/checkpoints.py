"""Checkpoints of training: a small one with damaged bytes, and with other settings, labels and weights."""

import io
import random
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from speechrnn.training import checkpoint
from speechrnn.training.config import Config, FrontEndConfig, NetworkConfig, StreamConfig
from speechrnn.training.network import Recognizer

from .contract import Case
from .mutations import damaged

LABELS = ("yes", "no", "_unknown_", "_silence_")
SMALL = Config(
    front_end=FrontEndConfig(n_mels=20),
    network=NetworkConfig(first_channels=2, channels=4, residual_layers=0, features=8, hidden_size=6, layers=1),
    stream=StreamConfig(rows=0),
)
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2, 7, 10_000, 10**9, 10**30, 0.5, float("nan"), float("inf"), 1e300, "", "gru", "lstm"),
    *("x" * 5_000, "\x1b[2J", "\0", [], {}, ["yes"], [1], {"a": 1}),
)


def prepare(folder: Path) -> None:
    global CONTENT, TENSORS
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Recognizer(SMALL, LABELS)
    TENSORS = {"weights": network.state_dict(), "config": SMALL.to_dict(), "labels": list(LABELS)}
    path = folder / "whole.pt"
    checkpoint.save(path, TENSORS)
    checkpoint.recognizer(path)
    CONTENT = path.read_bytes()


def places(value: Any, above: tuple = ()) -> list[tuple]:
    """The keys that lead to each value in nested dictionaries."""
    inner = value.items() if isinstance(value, dict) else ()
    return [above, *(place for key, below in inner for place in places(below, (*above, key)))]


def copied(value: Any) -> Any:
    return {key: copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def changed_tensor(rng: random.Random, tensor: Any) -> Any:
    if not isinstance(tensor, torch.Tensor):
        return rng.choice(VALUES)
    makers = (
        lambda: tensor.double(),
        lambda: tensor.to(torch.complex64),
        lambda: tensor[..., :0] if tensor.ndim else tensor,
        lambda: tensor.flatten(),
        lambda: torch.full_like(tensor.float(), rng.choice((float("nan"), float("inf"), 1e38))),
        lambda: torch.zeros(1).expand(1_000_000, 1_000_000),
        lambda: torch.zeros(2, 2).to_sparse(),
        lambda: rng.choice(VALUES),
    )
    return rng.choice(makers)()


def made(seed: int) -> Case:
    rng = random.Random(seed)
    if rng.random() < 0.4:
        return Case(damaged(rng, CONTENT))
    content = copied(TENSORS)
    for _ in range(rng.randint(1, 2)):
        table = "config" if rng.random() < 0.5 and "config" in content else rng.choice(list(content) or ["config"])
        *path, last = rng.choice([(table, *place) for place in places(content.get(table))])
        holder = content
        for key in path:
            holder = holder[key]
        what = rng.randrange(6)
        if what == 0 and last in holder:
            del holder[last]
        elif what == 1:
            holder[rng.choice(("other", 1, None))] = holder.get(last)
        else:
            holder[last] = changed_tensor(rng, holder.get(last))
    written = io.BytesIO()
    torch.save(content, written)
    return Case(written.getvalue())


def cases() -> st.SearchStrategy[Case]:
    return st.integers(0, (1 << 64) - 1).map(made)


def run(case: Case, path: Path) -> None:
    model, content = checkpoint.recognizer(path)
    assert not model.training
    assert {"weights", "config", "labels"} <= set(content)
    with torch.no_grad():
        probabilities, state = model(torch.zeros(1, 640), torch.zeros(1, model.state_size))
    assert probabilities.shape[-1] == len(model.labels)
    assert state.shape == (1, model.state_size)
