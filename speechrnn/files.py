"""Output files: put in their place whole or not at all, and never in the place of what is read."""

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from speechrnn.errors import OUT_OF_SPACE, InputError

TEMPORARY = re.compile(r"\.speechrnn-[0-9a-f]{8}\.part\Z")  # how the name of a file that is being written ends
STALE_SECONDS = 3600.0  # one that nobody has written to for so long is of a run that was killed
LONGEST_NAME = 55  # characters of the target's name in it: 220 bytes at most, so that all of it is below 255

StrPath = str | os.PathLike[str]
_swept: set[Path] = set()  # folders that this process has cleared of stale temporary files


class WriteError(InputError):
    """A file can't be written."""


class TakenError(InputError):
    """There is a file of this name already, and it isn't to be replaced."""


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True, sync: bool = False) -> Iterator[IO[bytes]]:
    """A new file, open for bytes, that takes the place of `path` when the block ends well and is gone when it doesn't.

    It is written in the same folder under a name that no other writer has. An existing file keeps its permissions; of a
    link, what it points to is replaced; a pipe or a device is sent the whole content at the end.

    Parameters
    ----------
    path : the file to write
    overwrite : bool
        whether a file that is there may be replaced; if not, one that appears meanwhile isn't replaced either
    sync : bool
        whether the content must be on the disk before it takes the place

    Raises
    ------
    TakenError
        if there is a file already, and `overwrite` is False
    WriteError
        if the file can't be written; then an older one stays as it was
    """
    try:
        there = _status(path)
        if there is None or stat.S_ISREG(there.st_mode):
            target = Path(os.path.realpath(path))
            temporary = target.with_name(f"{target.name[:LONGEST_NAME]}.speechrnn-{os.urandom(4).hex()}.part")
        else:
            temporary = None
        if there is not None:
            if not overwrite:
                raise FileExistsError
            if stat.S_ISDIR(there.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not os.access(path, os.W_OK):  # a new file could take its place, but somebody has protected this one
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if temporary is None:
            import tempfile

            with tempfile.NamedTemporaryFile() as spooled, open(path, "wb") as device:
                yield spooled.file
                spooled.flush()
                with open(spooled.name, "rb") as content:
                    shutil.copyfileobj(content, device)
            return
        try:
            with open(temporary, "x+b") as file:
                _remove_stale(target.parent, os.fstat(file.fileno()).st_mtime)
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            if there is not None:
                _take_after(temporary, there)
            if overwrite:
                os.replace(temporary, target)
            else:
                _place(temporary, target)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except FileExistsError:
        raise TakenError(f"{path}: is there already: say --overwrite to replace it, or name another place") from None
    except OSError as error:
        remedy = "make room there" if error.errno in OUT_OF_SPACE else "name another place"
        raise WriteError(f"{path}: can't be written ({error.strerror or error}): {remedy}") from None


def write(path: Path, content: bytes | memoryview, *, overwrite: bool = True, sync: bool = False) -> None:
    """Put a file with this content in its place; `overwrite`, `sync` and what is raised are as of `replacing`."""
    with replacing(path, overwrite=overwrite, sync=sync) as file:
        file.write(content)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there; raises InputError if it can't be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}): name another place") from None


def check_place(path: Path, option: str) -> None:
    """See that a file can be put there, before the work and not after it.

    Raises
    ------
    InputError
        naming the option
    """
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise InputError(f"{option} {path}: can't be written ({error.strerror}): name another place") from None
    if is_folder:
        raise InputError(f"{option} {path}: is a directory: name a file in it")
    if not has_folder:
        raise InputError(f"{option} {path}: there is no folder {path.parent}: make it first")
    if not os.access(Path(os.path.realpath(path)).parent, os.W_OK):
        raise InputError(f"{option} {path}: can't be written (Permission denied): name another place")


def check_folder(path: Path, option: str) -> None:
    """See that files can be put into a folder, or that it can be made, with those above it; raises as `check_place`."""
    place, status = path, None
    try:
        while status is None:
            try:
                status = os.stat(place)
            except (FileNotFoundError, NotADirectoryError):
                place = place.parent
    except OSError as error:  # a name that is too long, links that lead in a circle
        raise InputError(f"{option} {path}: can't be used ({error.strerror}): name another folder") from None
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(f"{option} {path}: {place} is no folder: name another one")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: {place} can't be written to: name another folder")


def check_writable(path: Path, option: str, *inputs: StrPath | None) -> None:
    """`check_place`, and see that a file that is there is none of `inputs` and isn't protected.

    Parameters
    ----------
    path : the file to write
    option : what the user calls it
    inputs : files, and folders of sound, that are read; None and names of what isn't there count for nothing

    Raises
    ------
    InputError
        naming the option
    """
    check_place(path, option)
    check_not_read(path, option, *inputs)
    if path.exists() and not os.access(path, os.W_OK):
        raise InputError(f"{option} {path}: is protected against writing: name another file")


def check_not_read(path: Path, option: str, *inputs: StrPath | None) -> None:
    """Raise InputError, naming the option, if `path` is one of the inputs or a sound in one of their folders."""
    for given in inputs:
        if given is not None and (is_same(path, given) or _is_sound_below(path, given)):
            raise InputError(f"{option} {path}: would replace what is read ({os.fspath(given)}): name another file")


def check_free(paths: Iterable[Path], option: str, overwrite: bool, *inputs: StrPath | None) -> None:
    """See that files whose names the user didn't give are not there, or are to be replaced and none of `inputs`.

    Raises
    ------
    InputError
        naming the option
    """
    for path in paths:
        if os.path.lexists(path) and not overwrite:
            raise TakenError(f"{option} {path}: is there already: say --overwrite to replace it, or name another place")
        check_writable(path, option, *inputs)


def is_same(path: StrPath, other: StrPath) -> bool:
    """Tell whether two paths lead to the same file, be it through links; or would, if it isn't there yet."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


def _is_sound_below(path: Path, folder: StrPath) -> bool:
    if not (path.exists() and os.path.isdir(folder)):
        return False
    from speechrnn.audio import SUFFIXES

    real = Path(os.path.realpath(path))
    return real.suffix.lower() in SUFFIXES and real.is_relative_to(os.path.realpath(folder))


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:  # of a link that leads nowhere, too
        return None


def _take_after(temporary: Path, there: os.stat_result) -> None:
    """Owner and permissions of the file that is replaced, as far as this user may give them."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(temporary, there.st_uid, there.st_gid)
    os.chmod(temporary, stat.S_IMODE(there.st_mode))


def _place(temporary: Path, target: Path) -> None:
    """Rename unless there is a file by that name; raises FileExistsError if there is."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links, as on a memory card: an empty file keeps the place meanwhile
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.replace(temporary, target)


def _remove_stale(folder: Path, now: float) -> None:
    """Remove what killed runs have left half-written in a folder; `now` is the time of its file system."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            stale = TEMPORARY.search(entry.name) and now - entry.stat(follow_symlinks=False).st_mtime > STALE_SECONDS
            if stale and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)
