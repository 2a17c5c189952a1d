"""Download Speech Commands: fetch into a `.part` file (a later run resumes), compare the checksum, unpack and rename.

A folder that exists is therefore complete.
"""

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import posixpath
import re
import shutil
import ssl
import string
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from speechrnn.errors import InputError, refused_by_system
from speechrnn.programs import report_errors
from speechrnn.terminal import plain_console

ATTRIBUTION = "Speech Commands, by Pete Warden, Google (arXiv:1804.03209), licensed under CC BY 4.0"
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 18
MOST_BYTES = 1 << 35  # of an archive, packed or not: 32 GB, ten times the largest
LEFT_FREE_BYTES = 1 << 26  # on the disk, for everybody else
MOST_HEADER_BYTES = 1 << 20  # of one member of an archive, which Python reads into memory
MOST_FILES = 1_000_000
MARKER = ".speech_commands.json"  # written last, into the finished folder: which archive, how many files


class Name(StrEnum):
    """The published archives."""

    V001 = "v0.01"
    V002 = "v0.02"
    TEST_V002 = "test-v0.02"


@dataclass(frozen=True)
class Archive:
    """Where an archive lies, and what it must hash to."""

    url: str
    sha256: str


# Sums as in torchaudio (speechcommands.py) and TensorFlow Datasets (url_checksums/speech_commands.txt). Nobody
# publishes one for the test set of v0.01, so it isn't offered.
ARCHIVES = {
    Name.V001: Archive(
        "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
        "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    ),
    Name.V002: Archive(
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    ),
    Name.TEST_V002: Archive(
        "http://download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz",
        "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
    ),
}


# What tarfile makes of an archive that no program has written.
BROKEN = (
    *(tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError, KeyError, RecursionError),
    *(IsADirectoryError, NotADirectoryError, FileExistsError),
)


def check_address(url: str) -> None:
    """Raise InputError unless it is one that can be fetched: of a web server, and written as the standard wants it."""
    try:
        parts = urllib.parse.urlsplit(url)
        _, host = parts.port, (parts.hostname or "").encode("idna")  # each raises ValueError for what can't be one
        good = parts.scheme in ("http", "https") and bool(host) and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(
            f"{_one_line(url)} isn't an address: it must start with http:// or https:// and a host, and have neither"
            " spaces nor letters beyond ASCII (write them as %20 and so on)"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To other hosts, but nowhere else than to web servers."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _one_line(text: object) -> str:
    """Text of a server or user in printable characters, 200 at most."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))[:200].strip()


def _check_space(folder: Path, needed: int, what: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free - LEFT_FREE_BYTES:
        raise InputError(f"disk full: {what} needs {needed:,} bytes more, {free:,} are free: make room, and run again")


def fetch(url: str, part: Path, progress: Progress) -> None:
    """Download `url` into `part`, from where an earlier run stopped if the server can do that."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "speechrnn"} | ({"Range": f"bytes={start}-"} if start else {})
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
            if response.status != 206:  # the server ignores Range and sends all of it
                start = 0
            length = response.headers.get("Content-Length", "")
            promised = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None  # or nobody knows
            total = start + promised if promised is not None else None
            _check_space(part.parent, promised or 0, part)
            received = start
            task = progress.add_task("download", total=total, completed=start)
            with part.open("ab" if start else "wb") as file:
                while chunk := response.read(CHUNK_BYTES):
                    if total is None:
                        _check_space(part.parent, len(chunk), part)
                    file.write(chunk)
                    received += len(chunk)
                    progress.update(task, completed=received)
                    if received > MOST_BYTES:
                        break
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise InputError(f"{url}: the server answers {error.code} {_one_line(error.reason)}") from None
        # Nothing lies beyond our last byte: either all is here, or the part is of some other, longer file.
        size = re.fullmatch(r"bytes \*/([0-9]{1,18})", error.headers.get("Content-Range", ""))
        if size and int(size[1]) != start:
            part.unlink()
            fetch(url, part, progress)
        return
    except urllib.error.URLError as error:
        reason = _one_line(error.reason)
        raise InputError(f"{url} can't be reached ({reason}): check the network, or give --url") from None
    except (http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
        raise InputError(
            f"{url}: connection failed ({_one_line(repr(error))}): run again to go on from there"
        ) from None
    except InputError:
        raise
    except ValueError as error:  # of urllib, for what the server names in a redirect
        raise InputError(f"{url}: the server sends on to what is no address ({_one_line(error)})") from None
    if received > MOST_BYTES:
        part.unlink()
        raise InputError(f"{url}: sends more than {MOST_BYTES:,} bytes: it is no archive of speech: give another --url")
    if total is not None and received < total:
        raise InputError(f"{url}: connection lost at {received:,} of {total:,} bytes: run again to go on from there")


def digest(file: Path, progress: Progress) -> str:
    """Hash a file with SHA-256."""
    task = progress.add_task("checksum", total=file.stat().st_size)
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha256.update(chunk)
            progress.advance(task, len(chunk))
    return sha256.hexdigest()


class _Unpacked(gzip.GzipFile):
    """The tar in a .tar.gz. Python reads the header of a member whole, and a packed one may be of any size."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError("it has a header of a size that no file needs")
        return super().read(size)


def _wrong_with(member: tarfile.TarInfo, seen: set[str]) -> str | None:
    """Why a member isn't unpacked: it is no file or folder, or not where nothing else is. `seen` gets the files."""
    name = posixpath.normpath(member.name)
    key = name.casefold()  # where capital letters don't count, one file would take the place of another
    if not member.isfile() and not member.isdir():
        return f"is a link to {_one_line(member.linkname)!r}" if member.linkname else "is neither a file nor a folder"
    if member.issparse() or member.size < 0:
        return "has holes, or no size"
    if posixpath.isabs(name) or name.split("/")[0] == ".." or "\\" in name or "\0" in name:
        return "points outside"
    if any(len(os.fsencode(part)) > 255 for part in name.split("/")):
        return "has too long a name"
    if key in seen:
        return "is there twice"
    if member.isfile():
        seen.add(key)
    return f"is one file too many: {MOST_FILES:,} are enough" if len(seen) > MOST_FILES else None


def unpack(archive: Path, folder: Path, progress: Progress) -> int:
    """Unpack a .tar.gz into `folder`; refuse members that point outside. Returns the number of files."""
    task = progress.add_task("unpack", total=archive.stat().st_size)
    files = size = 0
    seen: set[str] = set()
    try:
        with (
            archive.open("rb") as raw,
            _Unpacked(fileobj=raw) as tar_file,
            tarfile.open(fileobj=tar_file, mode="r:") as tar,
        ):
            for member in tar:
                if problem := _wrong_with(member, seen):
                    name = _one_line(member.name)
                    raise InputError(f"{archive.name} is refused, nothing was unpacked: {name!r} {problem}")
                size += member.size
                if size > MOST_BYTES:
                    raise InputError(f"{archive.name} is refused: it unpacks to more than {MOST_BYTES:,} bytes")
                _check_space(folder.parent, member.size, archive)
                tar.extract(member, folder, filter="data")
                files += member.isfile()
                progress.update(task, completed=raw.tell())
    except tarfile.FilterError as error:
        raise InputError(f"{archive.name} is refused, nothing was unpacked: {_one_line(error)}") from None
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(f"{archive.name} is broken, nothing was unpacked: {_one_line(error)}") from None
    if not files:
        raise InputError(f"{archive.name} holds no files, nothing was unpacked")
    return files


def is_complete(dest: Path, sha256: str) -> bool:
    """Tell whether `dest` holds the unpacked archive; raise where it holds anything else."""
    if not dest.exists() or (dest.is_dir() and not any(dest.iterdir())):
        return False
    try:
        marker = json.loads((dest / MARKER).read_text(encoding="utf-8"))
        found, files = marker["sha256"], int(marker["files"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise InputError(f"{dest} exists and isn't an empty folder: give another one, or remove it") from None
    if found != sha256:
        raise InputError(f"{dest} holds another archive ({marker.get('name')}): give another folder, or remove it")
    present = sum(path.is_file() for path in dest.rglob("*")) - 1
    if present < files:
        raise InputError(f"{dest} has lost {files - present:,} of its {files:,} files: remove it and run again")
    return True


def download(
    name: Name, dest: Path, *, url: str | None = None, sha256: str | None = None, keep_archive: bool = False
) -> bool:
    """Fetch, verify and unpack an archive into the folder `dest`.

    Parameters
    ----------
    name : Name
    dest : Path
        missing or empty; the `.part` file and the kept archive lie beside it
    url, sha256 : str, optional
        in place of the published ones
    keep_archive : bool
        keep the verified archive beside `dest`; a later run takes it from there

    Returns
    -------
    bool
        False if `dest` was complete before
    """
    try:
        dest = dest.expanduser().resolve()
    except RuntimeError as error:  # links that lead in a circle, a home that nobody has
        raise InputError(f"{dest}: can't be used ({_one_line(error)}): name another folder") from None
    url = url or ARCHIVES[name].url
    sha256 = (sha256 or ARCHIVES[name].sha256).lower()
    check_address(url)
    if len(sha256) != 64 or not set(sha256) <= set(string.hexdigits):
        raise InputError(f"{_one_line(sha256)} isn't a SHA-256: it must be 64 hexadecimal digits")
    if not hasattr(tarfile, "data_filter"):
        raise InputError("this Python can't unpack archives safely: update to 3.11.4 or later")
    if is_complete(dest, sha256):
        return False

    dest.parent.mkdir(parents=True, exist_ok=True)
    archive = dest.with_name(ARCHIVES[name].url.rpartition("/")[2])
    part = archive.with_name(archive.name + ".part")
    beside = dest.with_name(f".{dest.name}.unpacking")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(beside)  # a name that is too long is too long before the download
    columns = TextColumn("{task.description:>9}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    console = plain_console(stderr=True)
    console.quiet = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        source = archive if archive.exists() else part
        if source == part:
            fetch(url, part, progress)
        found = digest(source, progress)
        if found != sha256:
            if source == archive:  # put there by the user, or kept for them: theirs to remove
                raise InputError(f"{archive} has checksum {found}, not {sha256}: remove it and run again")
            part.unlink()
            raise InputError(f"{url} has checksum {found}, not {sha256}: the download was removed, run again")
        shutil.rmtree(beside, ignore_errors=True)  # left by a run that was killed
        try:
            files = unpack(source, beside, progress)
            marker = {"name": str(name), "sha256": sha256, "files": files}
            (beside / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")
            if dest.exists():
                dest.rmdir()
            beside.rename(dest)
        except InputError:
            if source == part:
                part.unlink()  # verified and yet unusable: going on from it would lead nowhere
            raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    if source == part and keep_archive:
        part.rename(archive)
    elif source == part:
        part.unlink()
    return True


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m data_scripts.download v0.02 data/speech_commands")
def main(
    name: Annotated[Name, typer.Argument(help="1.5, 2.4 and 0.1 GB to fetch; half as much again when unpacked.")],
    dest: Annotated[Path, typer.Argument(help="Folder to make; the archive lies beside it meanwhile.")],
    url: Annotated[str | None, typer.Option(help="Fetch the archive from this address instead.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Expect this checksum instead of the published one.")] = None,
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep the archive beside DEST.")] = False,
) -> None:
    """Download and unpack Speech Commands (Pete Warden, Google, CC BY 4.0). Run again to go on after a break."""
    with report_errors():
        try:
            new = download(name, dest, url=url, sha256=sha256, keep_archive=keep_archive)
        except OSError as error:
            raise InputError(refused_by_system(error, dest)) from None
        typer.echo(f"{dest}: {name} unpacked" if new else f"{dest} is complete already: nothing to do")
        typer.echo(ATTRIBUTION)


if __name__ == "__main__":
    app()
