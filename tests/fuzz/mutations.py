"""Damage to bytes, as disks, cables, editors and enemies do it, drawn from a random generator."""

import math
import random
import struct
from collections.abc import Callable, Sequence

NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7F00_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
LARGE = (*NUMBERS, 1 << 40, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
HEADER = 128  # bytes, in which most of what matters lies


def place(rng: random.Random, content: bytes) -> int:
    """Somewhere in the content, every other time in its header."""
    limit = min(len(content), HEADER) if rng.random() < 0.5 else len(content)
    return rng.randrange(limit + 1)


def flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[min(place(rng, content), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def number(rng: random.Random, content: bytes) -> bytes:
    """A number that writers and readers disagree on, in place of what is there."""
    width = rng.choice("BHIQ")
    size = struct.calcsize(width)
    value = rng.choice(LARGE) + rng.choice((0, 0, -1, 1)) & (1 << 8 * size) - 1
    start = place(rng, content)
    start -= start % rng.choice((1, 2, 4))
    return content[:start] + struct.pack(rng.choice("<>") + width, value) + content[start + size :]


def real(rng: random.Random, content: bytes) -> bytes:
    """Floating-point numbers that arithmetic stumbles over, in a row of some length."""
    width = rng.choice("fd")
    value = rng.choice((math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 1e-45, 1e10, 1.0 if width == "f" else 1e308))
    start = place(rng, content)
    start -= start % struct.calcsize(width)
    row = struct.pack(rng.choice("<>") + width, value) * rng.choice((1, 2, 3, 50))
    return content[:start] + row + content[start + len(row) :]


def noise(rng: random.Random, content: bytes) -> bytes:
    start = place(rng, content)
    size = rng.choice((1, 4, 16, 200))
    return content[:start] + rng.randbytes(size) + content[start + size :]


def truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: place(rng, content)]


def behead(rng: random.Random, content: bytes) -> bytes:
    return content[place(rng, content) :]


def remove(rng: random.Random, content: bytes) -> bytes:
    start = place(rng, content)
    return content[:start] + content[start + rng.choice((1, 2, 4, 8, 100, 2_000)) :]


def insert(rng: random.Random, content: bytes) -> bytes:
    start = place(rng, content)
    filling = rng.choice((rng.randbytes(rng.choice((1, 2, 4, 8, 100))), bytes(rng.choice((1, 4, 1_000)))))
    return content[:start] + filling + content[start:]


def repeat(rng: random.Random, content: bytes) -> bytes:
    start, stop = sorted((place(rng, content), place(rng, content)))
    return content[:stop] + content[start:stop] * rng.choice((1, 2, 5)) + content[stop:]


def splice(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another, or both whole."""
    if rng.random() < 0.3:
        return content + other
    return content[: place(rng, content)] + other[place(rng, other) :]


DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(flip, number, number, real, noise, truncate),
    *(behead, remove, insert, repeat),
)


def damaged(
    rng: random.Random, content: bytes, others: Sequence[bytes] = (), most: int = 4, largest: int = 1 << 20
) -> bytes:
    """One to `most` damages in a row; at most `largest` bytes come out."""
    for _ in range(rng.randint(1, most)):
        if others and rng.random() < 0.15:
            content = splice(rng, content, rng.choice(others))
        else:
            content = rng.choice(DAMAGES)(rng, content)
    return content[:largest]
