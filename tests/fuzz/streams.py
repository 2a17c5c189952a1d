"""What a pipe brings to `listen -`: raw PCM, sound files one after the other, anything else, in ragged pieces."""

import io
import random
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

import speechrnn
from speechrnn import pcm, pipes

from . import sounds
from .contract import Case, check_sound, wrong_with
from .mutations import damaged

RATES = (None, 16_000, 8_000, 44_100, 1_000, 768_000, 0, -1, 1, 10**9)
OTHERS = (b"", b"yes\tno\n" * 30, b"\x1f\x8b\x08" + bytes(40), b"PK\x03\x04" + bytes(40), b"\x7fELF" + bytes(40))


def prepare(folder: Path) -> None:
    global SPOTTER
    sounds.prepare(folder)
    SPOTTER = speechrnn.Spotter(sounds.MODEL)


def made(seed: int) -> Case:
    rng = random.Random(seed)
    what = rng.random()
    if what < 0.3:
        content = rng.randbytes(rng.choice((1, 2, 3, 640, 5_001)))
    elif what < 0.35:
        content = rng.choice(OTHERS)
    else:
        content = b"".join(rng.choices(sounds.WHOLE, k=rng.choice((1, 1, 2, 3))))
    if rng.random() < 0.7:
        content = damaged(rng, content, sounds.WHOLE)
    plain = rng.random() < 0.6
    options = {
        "rate": None if plain else rng.choice(RATES),
        "encoding": None if plain else rng.choice((None, *pcm.ENCODINGS, "s8")),
        "channels": None if plain else rng.choice((None, 1, 2, 3, 1_024, 1_025, 0)),
        "channel": rng.choice(("mean", "mean", "loudest", 1, 2, 99)),
    }
    return Case(content, {"ragged": rng.randrange(1 << 16), **options})


def cases() -> st.SearchStrategy[Case]:
    return st.integers(0, (1 << 64) - 1).map(made)


class Ragged(io.RawIOBase):
    """A pipe that gives now a byte and now a lot."""

    def __init__(self, content: bytes, seed: int) -> None:
        self._content, self._rng = io.BytesIO(content), random.Random(seed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        size = min(len(buffer), self._rng.choice((1, 7, 500, 4_096, 65_536)))
        return self._content.readinto(memoryview(buffer)[:size])


def run(case: Case, path: Path) -> None:
    options = dict(case.options)
    pipe = Ragged(case.content, options.pop("ragged"))
    notes: list[str] = []
    SPOTTER.reset()
    for piece in pipes.blocks(pipe, note=notes.append, **options):
        check_sound(piece)
        SPOTTER.process(piece)
    SPOTTER.finish()
    assert np.isfinite(SPOTTER.posterior).all()
    assert not any(map(wrong_with, notes)), notes
