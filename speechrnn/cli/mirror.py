"""The files for the results of recordings: one for each in one folder, laid out as the recordings are."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechrnn.errors import InputError
from speechrnn.files import check_free

STDIN = "stdin"  # what the result of - is called


@dataclass
class _Place:
    """One recording's result: named by the last parts of the recording's path, with its ending where that is needed."""

    recording: str
    parts: tuple[str, ...]  # of the whole path
    depth: int
    keep_ending: bool = False

    @property
    def name(self) -> Path:
        path = Path(*self.parts[-self.depth :])
        return path if self.keep_ending else path.with_name(path.stem)

    @property
    def folder(self) -> tuple[str, ...]:
        return self.parts[:-1]


def mirrored(recordings: Sequence[tuple[str, str | None]], folder: Path, suffix: str) -> list[Path]:
    """The file for each recording below `folder`; no two are the same.

    A recording of a folder that was named keeps its path in that folder; another one its name. Where that isn't enough
    to distinguish two of them, folders above stand before it, as few as will do, or the ending of its name is kept.

    Parameters
    ----------
    recordings : pairs of a recording and the folder that it was found in, or None if it was named itself
    folder : where the files go
    suffix : of the files, without a dot

    Raises
    ------
    InputError
        naming two recordings that would get the same file
    """
    places = [_place(recording, found_in) for recording, found_in in recordings]
    while True:
        groups = defaultdict(list)
        for place in places:
            groups[place.name].append(place)
        crowded = [group for group in groups.values() if len(group) > 1]
        if not crowded:
            return [folder / place.name.with_name(f"{place.name.name}.{suffix}") for place in places]
        for group in crowded:
            _lengthen(group)


def _place(recording: str, found_in: str | None) -> _Place:
    if recording == "-":
        return _Place(recording, (STDIN,), 1)
    path = Path(os.path.abspath(recording))
    parts = path.parts[1:]  # without the root
    if found_in is None:
        return _Place(recording, parts, 1)
    return _Place(recording, parts, len(path.relative_to(os.path.abspath(found_in)).parts))


def _lengthen(group: list[_Place]) -> None:
    """Make the names of results that are the same longer."""
    if len({place.folder for place in group}) == 1:
        longer = [place for place in group if not place.keep_ending]
        for place in longer:
            place.keep_ending = True
    else:
        longer = [place for place in group if place.depth < len(place.parts)]
        for place in longer:
            place.depth += 1
    if not longer:
        first, second, *_ = (place.recording for place in group)
        raise InputError(f"{first} and {second}: would both be written to {group[0].name}: leave one of them out")


def check(
    targets: Sequence[Path], recordings: Sequence[str], folder: Path, overwrite: bool, model: Path | None
) -> None:
    """Before the work: nothing is replaced that isn't meant to be, and never a recording or its label track.

    Raises
    ------
    InputError
        naming the file that is in the way
    """
    for above in {parent for target in targets for parent in target.relative_to(folder).parents}:
        if os.path.lexists(folder / above) and not os.path.isdir(folder / above):
            raise InputError(f"--output-folder {folder / above}: is no folder: name another one for the results")
    there = [target for target in targets if os.path.lexists(target)]
    if not there:
        return
    kept: dict[tuple[int, int], str] = {}  # by device and number, so that links are seen through
    for recording in recordings:
        tracks = [Path(recording).with_suffix(ending) for ending in (".txt", ".clips.txt")]
        kept |= dict.fromkeys(_identities(tracks), f"is the label track of {recording}")
        kept |= dict.fromkeys(_identities([Path(recording)]), "is a recording")
    for target in there:
        for identity in _identities([target]):
            if identity in kept:
                raise InputError(f"--output-folder {target}: {kept[identity]}: name another folder for the results")
    check_free(there, "--output-folder", overwrite, model)


def _identities(paths: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Device and number of those of the files that are there."""
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            yield status.st_dev, status.st_ino
