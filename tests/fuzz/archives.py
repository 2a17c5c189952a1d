"""Archives as `data_scripts.download` unpacks them: damaged, with members that lie about themselves, with bombs."""

import gzip
import io
import random
import shutil
import tarfile
from pathlib import Path

from hypothesis import strategies as st
from rich.progress import Progress

from data_scripts import download

from .contract import Case
from .mutations import damaged

NAMES = (
    *("yes/a_nohash_0.wav", "../outside", "/tmp/outside", "yes/../../outside", "", ".", "a" * 300, "b" * 90 + "/" * 20),
    *("\0", "a\nb", "\x1b[2J", "yes", "yes/", "é", "\udcff", "CON", "c:\\x", "a/" * 150 + "b"),
)
TYPES = (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S", b"x")
KEYS = ("path", "linkpath", "size", "mtime", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major")
SIZES = (0, 1, 511, 512, 513, 1 << 20, 1 << 33, -1)


def prepare(folder: Path) -> None:
    global WHOLE
    WHOLE = written([("LICENSE", b"CC BY"), ("yes/a_nohash_0.wav", b"RIFF" * 300), ("no/b_nohash_1.wav", b"RIFF" * 9)])


def written(members: list[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(content.getvalue(), 1, mtime=0)


def strange(rng: random.Random) -> bytes:
    """An archive of members with any name, kind, size, target and extended headers."""
    content = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    for _ in range(rng.randint(1, 4)):
        info = tarfile.TarInfo(rng.choice(NAMES))
        data = rng.randbytes(rng.choice((0, 10, 600)))
        info.size, info.type = len(data), rng.choice((tarfile.REGTYPE, *TYPES))
        info.linkname = rng.choice(("", *NAMES))
        info.mode, info.mtime = rng.choice((0o644, 0, 0o7777)), rng.choice((0, -1, 1 << 33, 1 << 62, 1.5))
        info.uid = rng.choice((0, 1 << 21, 1 << 40))
        if rng.random() < 0.2:
            info.size = rng.choice(SIZES)
        if rng.random() < 0.3:
            info.pax_headers = {rng.choice(KEYS): rng.choice((*NAMES, "-1", "0,1", "1e400", "9" * 30, "nan", "1"))}
        try:
            header = info.tobuf(form, "utf-8", "surrogateescape")
        except (ValueError, OverflowError, UnicodeError):
            continue  # this format can't say it
        content.write(header + data + bytes(-len(data) % 512))
    return content.getvalue() + bytes(rng.choice((0, 512, 1_024)))


def made(seed: int) -> Case:
    rng = random.Random(seed)
    what = rng.random()
    if what < 0.3:
        return Case(damaged(rng, WHOLE))
    if what < 0.6:
        tar = damaged(rng, gzip.decompress(WHOLE), most=3)
    elif what < 0.62:
        return Case(written([("yes/bomb.wav", bytes(1 << 24))]))
    else:
        tar = strange(rng)
    return Case(gzip.compress(tar, 1, mtime=0))


def cases() -> st.SearchStrategy[Case]:
    return st.integers(0, (1 << 64) - 1).map(made)


def run(case: Case, path: Path) -> None:
    around = path.with_name("around")
    shutil.rmtree(around, ignore_errors=True)
    (around / "here").mkdir(parents=True)
    folder = around / "here" / "unpacked"
    try:
        with Progress(disable=True) as progress:
            files = download.unpack(path, folder, progress)
        assert files > 0
    finally:
        found = sorted(str(place.relative_to(around)) for place in around.glob("*"))
        assert found == ["here"], f"unpacked outside of the folder: {found}"
        assert {place.name for place in (around / "here").iterdir()} <= {"unpacked"}
        assert not Path("/tmp/outside").exists()
