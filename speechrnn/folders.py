"""The sound files below a folder, and the reasons why others are left out."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speechrnn import media
from speechrnn.errors import AudioError
from speechrnn.text import printable

# The one list of endings. What libsndfile reads, and what FFmpeg is needed for.
SUFFIXES = frozenset(
    {
        *media.SUFFIXES,
        *(".aif", ".aifc", ".aiff", ".au", ".bwf", ".caf", ".flac", ".mp2", ".mp3", ".mpga", ".nist", ".oga"),
        *(".ogg", ".opus", ".rf64", ".sds", ".snd", ".sph", ".voc", ".w64", ".wav", ".wave"),
    }
)
# What lies beside sound and holds none: it is neither opened nor named.
OTHERS = frozenset(
    {
        *(".bib", ".cfg", ".conf", ".csv", ".cue", ".doc", ".docx", ".gif", ".gz", ".htm", ".html", ".ini"),
        *(".jpeg", ".jpg", ".json", ".jsonl", ".lab", ".lock", ".log", ".lrc", ".m3u", ".m3u8", ".md", ".npy"),
        *(".npz", ".onnx", ".pdf", ".pkl", ".pls", ".png", ".pt", ".py", ".rst", ".sh", ".srt", ".svg", ".tar"),
        *(".tex", ".textgrid", ".tgz", ".toml", ".tsv", ".txt", ".vtt", ".webp", ".xls", ".xlsx", ".xml"),
        *(".yaml", ".yml", ".zip"),
    }
)
SOUND_BEGINS = (b"RIFF", b"RF64", b"RIFX", b"OggS", b"fLaC", b"FORM", b"ID3", b".snd", b"caff", b"riff\x2e\x91\xcf\x11")
WITHOUT_HEADER = frozenset([".alaw", ".g722", ".gsm", ".pcm", ".raw", ".sln", ".ulaw", ".vox"])

HIDDEN = "hidden, or left by macOS beside a sound"
BROKEN_LINK = "a link to nothing: copy the sound itself"
LINK_UPWARDS = "a link to a folder that this one is in"
CLOSED = "can't be opened: make it readable for this user"
NEEDS_FFMPEG = f"needs PyAV or ffmpeg: {media.HOW_TO_READ}"
MISNAMED = "begins like sound but isn't named so: give it the ending of its format"
NO_HEADER = "doesn't say its rate: convert it to WAV"
UNREAD = (BROKEN_LINK, CLOSED, NEEDS_FFMPEG, MISNAMED, NO_HEADER)  # what holds sound, or may


@dataclass(frozen=True)
class Folder:
    """What a folder holds: its sound files, sorted, and of what is left out the paths, by the reason."""

    path: Path
    files: list[Path]
    left_out: dict[str, list[Path]]

    def remarks(self) -> list[str]:
        """What is left out and why, in one line for each reason."""
        return [
            printable(f"{self.path}: {len(paths)} left out, such as {paths[0].relative_to(self.path)}: {why}")
            for why, paths in self.left_out.items()
        ]

    def unread(self) -> int:
        """How many of the things that are left out hold sound that somebody may miss."""
        return sum(len(self.left_out.get(why, ())) for why in UNREAD)


def search(path: Path) -> Folder:
    """Look for sound below a folder, by the endings of the names.

    Links to folders are followed, each folder once. Hidden files are left out.

    Raises
    ------
    speechrnn.errors.AudioError
        if there is no such folder
    """
    if not os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        raise AudioError(f"{path}: no such folder")
    files: list[Path] = []
    left_out: dict[str, list[Path]] = {}
    for found, why in _entries(path):
        if why:
            left_out.setdefault(why, []).append(found)
        else:
            files.append(found)
    return Folder(path, sorted(files), {why: sorted(left_out[why]) for why in sorted(left_out)})


def sound_files(folder: Path) -> list[Path]:
    """All sound files below a folder; sorted, so that lists are the same on every machine.

    What is left out, and why, goes to the log of Python as a warning, which is stderr where nothing else is set.

    Raises
    ------
    speechrnn.errors.AudioError
        if there is no such folder, or no sound in it
    """
    found = search(folder)
    warn(found.remarks())
    if not found.files:
        raise nothing_in(folder)
    return found.files


def nothing_in(folder: Path) -> AudioError:
    return AudioError(f"{folder}: holds no sound files that can be read (WAV, FLAC, Ogg, MP3, AIFF, M4A, ...)")


_warned: set[str] = set()


def warn(lines: list[str]) -> None:
    """Say lines in the log, each once in a process: several readers look into the same folder."""
    import logging  # here, because a command line should start fast

    for line in lines:
        if line not in _warned:
            _warned.add(line)
            logging.getLogger("speechrnn").warning("speechrnn: %s", line)


def _entries(root: Path) -> Iterator[tuple[Path, str]]:
    """Files below a folder that are sound, or may be, with the reason to leave them out, or none."""
    above = {_identity(parent) for parent in Path(os.path.realpath(root)).parents}
    seen: set[tuple[int, int]] = set()
    folders: list[Path] = [root]
    links: list[Path] = []
    while folders or links:  # links come last: what is in the folder itself is found under its own name
        folder = folders.pop() if folders else links.pop(0)
        try:
            identity = _identity(folder)
            if identity in above:
                yield folder, LINK_UPWARDS
                continue
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            yield folder, CLOSED
            continue
        for entry in entries:
            path = folder / entry.name
            if _is(entry, os.DirEntry.is_dir):
                (links if entry.is_symlink() else folders).append(path)
            elif (why := _why_not(path, root, _is(entry, os.DirEntry.is_file), entry.is_symlink())) is not None:
                yield path, why


def _why_not(path: Path, root: Path, is_file: bool, is_link: bool) -> str | None:
    """Why a file is left out, "" where it isn't, None where it plainly holds no sound."""
    ending = path.suffix.lower()
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    if hidden:
        return HIDDEN if ending in SUFFIXES else None
    if not is_file:
        return BROKEN_LINK if is_link and ending in SUFFIXES else None
    if ending in media.SUFFIXES:
        return "" if media.available() else NEEDS_FFMPEG
    if ending in SUFFIXES:
        return ""
    if ending in WITHOUT_HEADER:
        return NO_HEADER
    return MISNAMED if ending not in OTHERS and _begins_like_sound(path) else None


def _begins_like_sound(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(SOUND_BEGINS) or head[4:8] == b"ftyp"


def _is(entry: os.DirEntry[str], what: Callable[[os.DirEntry[str]], bool]) -> bool:
    try:
        return what(entry)
    except OSError:  # a link to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
