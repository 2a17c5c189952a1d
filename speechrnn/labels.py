"""Labels with their times, and the track formats that hold them: Audacity's, which is read too, and subtitles."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from speechrnn import files
from speechrnn.errors import InputError


@dataclass(frozen=True)
class Label:
    """A word and the time that it takes, in seconds from the start of the recording."""

    start: float
    end: float
    word: str


def read_labels(path: Path) -> list[Label]:
    """A label track as Audacity exports it: lines of start, end (seconds) and text, with tabs between.

    Lines that begin with a backslash (the frequency range of the label before) are passed over.

    Raises
    ------
    InputError
        naming the file, and the line where one is wrong
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}): name a label track") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text in UTF-8: export the label track again") from None
    return [
        _label(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("\\")
    ]


def _label(line: str, where: str) -> Label:
    columns = line.rstrip("\r").split("\t", 2)
    if len(columns) < 3:
        raise InputError(f"{where}: is no label: write start, end and word with tabs between")
    try:
        start, end = float(columns[0]), float(columns[1])
    except ValueError:
        raise InputError(
            f"{where}: {columns[0][:40]!r} to {columns[1][:40]!r} is no stretch of time in seconds"
        ) from None
    if not 0.0 <= start <= end < math.inf:
        raise InputError(f"{where}: {start:g} to {end:g} s must not be negative, endless, or end before it starts")
    return Label(start, end, columns[2].strip())


def audacity(label: Label, decimals: int = 6) -> str:
    """A line of a track that Audacity imports and `read_labels` reads: start and end in seconds, word.

    Raises
    ------
    InputError
        if the word can't stand in it
    """
    if any(character in label.word for character in "\t\r\n"):
        raise InputError(f"{label.word!r} can't be a label: it holds a tab or a line break")
    return f"{label.start:.{decimals}f}\t{label.end:.{decimals}f}\t{label.word}\n"


def write_labels(path: Path, labels: Iterable[Label], *, overwrite: bool = True) -> None:
    """Write a label track for Audacity, to the microsecond.

    Raises
    ------
    InputError
        if the file can't be written (or is there, and `overwrite` is False), or a word can't stand in it
    """
    try:
        content = "".join(map(audacity, labels)).encode()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    files.write(path, content, overwrite=overwrite)


def srt(labels: Iterable[Label]) -> Iterator[str]:
    """Subtitles as SubRip has them, one after the other."""
    for number, label in enumerate(labels, start=1):
        yield f"{number}\n{_clock(label.start, ',')} --> {_clock(label.end, ',')}\n{label.word}\n\n"


def vtt(labels: Iterable[Label]) -> Iterator[str]:
    """Subtitles as WebVTT has them, the header first."""
    yield "WEBVTT\n\n"
    for label in labels:
        yield f"{_clock(label.start, '.')} --> {_clock(label.end, '.')}\n{escape(label.word, False)}\n\n"


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{comma}{rest % 1000:03}"
