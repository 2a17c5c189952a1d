"""Sound files of every container, whole, damaged, joined and tagged, read by each door for sound."""

import io
import random
import struct
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import strategies as st

import speechrnn
from speechrnn import audio

from .contract import ROOT, Case, check_sound
from .mutations import damaged

DOORS = ("load", "bytes", "blocks", "short blocks", "classify", "pipe")
RATES = (8_000, 16_000, 44_100)
ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIII8x", 2_000, 32, 0, 0x8000_0000)
TAGS_BEFORE = (
    b"ID3\x04\0\0\0\0\0\x0a" + bytes(10),
    b"ID3\x03\0\0\x7f\x7f\x7f\x7f",
    bytes(16),
    b"OggS",
    b"\xff\xfb\x90",
)
TAGS_BEHIND = (ID3V1, APE, bytes(700), b"LIST\x04\0\0\0INFO", b"\xff" * 33)


def prepare(folder: Path) -> None:
    """Every container, encoding and rate that this libsndfile writes, with a quarter of a second of a voice."""
    global WHOLE, MODEL
    voice, _ = soundfile.read(ROOT / "examples" / "yes.wav", dtype="float32")
    WHOLE = []
    for container in sorted(soundfile.available_formats()):
        for encoding in sorted(soundfile.available_subtypes(container)):
            for rate in RATES:
                samples = voice[4_000 : 4_000 + rate // 4]
                for channels in (1, 2):
                    written = io.BytesIO()
                    try:
                        mix = np.stack([samples] * channels, axis=1)
                        soundfile.write(written, mix, rate, format=container, subtype=encoding)
                    except (soundfile.LibsndfileError, ValueError, AssertionError):  # the last where it wrote less
                        continue
                    WHOLE.append(written.getvalue())
    MODEL = speechrnn.load("gru-12-small")


def made(seed: int) -> Case:
    rng = random.Random(seed)
    content = rng.choice(WHOLE)
    what = rng.random()
    if what < 0.1:
        content = b"".join([content, rng.choice([content, *WHOLE]), *rng.choices(WHOLE, k=rng.randint(0, 2))])
    elif what < 0.2:
        content = rng.choice((b"", *TAGS_BEFORE)) + content + rng.choice((b"", *TAGS_BEHIND))
    elif what < 0.22:
        content = rng.randbytes(rng.choice((0, 1, 2, 44, 500)))
    if what > 0.12:
        content = damaged(rng, content, WHOLE)
    return Case(content, {"door": rng.choice(DOORS)})


def cases() -> st.SearchStrategy[Case]:
    return st.integers(0, (1 << 64) - 1).map(made)


class Pipe(io.RawIOBase):
    """Bytes that can't be sought in, as from another program."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        return self._content.readinto(buffer)


def run(case: Case, path: Path) -> None:
    door = case.options["door"]
    if door == "classify":
        heard = MODEL.classify(path)
        assert set(heard.posterior) == set(MODEL.labels)
        assert 0.0 <= heard.probability <= 1.0
    elif door in ("blocks", "short blocks"):
        pieces = []
        for piece in audio.blocks(path, seconds=10.0 if door == "blocks" else 0.05):
            check_sound(piece)
            assert len(piece), "an empty piece"
            pieces.append(piece)
        assert pieces
    else:
        source = {"load": path, "bytes": case.content, "pipe": io.BufferedReader(Pipe(case.content))}[door]
        samples = audio.load(source)
        check_sound(samples)
        assert len(samples)
