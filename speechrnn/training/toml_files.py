"""TOML files of settings, laid over the file that they name as `base`."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from speechrnn import text_files
from speechrnn.errors import ConfigError, InputError, first_line
from speechrnn.training.bounds import shown

MOST_BYTES = 1 << 18  # the longest of ours has 5 kB
MOST_DOTS = 200  # of one key: tomllib takes a time that grows as their square
MOST_BASES = 16  # below one another


def parse(text: str) -> dict[str, Any]:
    """The tables of a text of TOML.

    Raises
    ------
    ValueError
        if it isn't TOML, or has too many digits or levels
    """
    if any(part.count(".") > MOST_DOTS for part in re.split("[=,\n]", text)):
        raise ValueError(f"a key has more than {MOST_DOTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read(path: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises
    ------
    ConfigError
        naming the file, if it can't be read or `parse` refuses it
    """
    try:
        text = text_files.read(path, "give a TOML file such as those in configs/", MOST_BYTES)
    except InputError as error:
        raise ConfigError(str(error)) from None
    try:
        return parse(text.replace("\r\n", "\n").replace("\r", "\n"))
    except ValueError as error:  # besides TOMLDecodeError, that of a number with more digits than Python reads
        raise ConfigError(f"{path}: is not valid TOML: {first_line(error)}") from None


def read_over_bases(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a file, laid over those of its `base`, if it names one, a file beside it."""
    values = read(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: {shown(base)} is not the name of a TOML file")
    below, above = path.parent / base, (*above, path)
    try:
        looping = any(os.path.samefile(below, one) for one in above)
    except (OSError, ValueError):
        looping = False  # reading it says what is wrong
    if looping:
        raise ConfigError(f"{path}: base: {base} has this file as its own base: take one of the two lines out")
    if len(above) > MOST_BASES:
        raise ConfigError(f"{path}: base: {base}: more than {MOST_BASES} files lie over one another: join some of them")
    return _laid_over(read_over_bases(below, above), values)


def _laid_over(below: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    both = below | values
    for key in below.keys() & values.keys():
        if isinstance(below[key], dict) and isinstance(values[key], dict):
            both[key] = _laid_over(below[key], values[key])
    return both
