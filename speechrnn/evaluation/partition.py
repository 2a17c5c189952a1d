"""The partition of a clip, by its file name: `training`, `validation` or `testing`.

The rule is the one that Speech Commands was published with (Warden 2018, arXiv:1804.03209; `which_set` in
tensorflow/examples/speech_commands/input_data.py). It looks at the speaker alone, so all clips of one person stay on
one side, and a clip added later moves no other.
"""

import hashlib
import os
from enum import StrEnum
from pathlib import Path, PurePosixPath

from speechrnn import text_files
from speechrnn.errors import ConfigError

MAX_NUM_WAVS_PER_CLASS = 2**27 - 1
PARTITIONS = ("training", "validation", "testing")
# Unlisted clips are for training. Testing comes last: a clip on both lists is never trained or tuned on.
LIST_NAMES = {"validation": "validation_list.txt", "testing": "testing_list.txt"}


class Partition(StrEnum):
    """By the speaker, as Speech Commands is divided."""

    training = "training"
    validation = "validation"
    testing = "testing"


def speaker(filename: str | os.PathLike[str]) -> str:
    """Name the speaker of a clip: what stands before `_nohash_` in its file name.

    A name without `_nohash_` is its own speaker, extension and all, as in the published rule.

    Examples
    --------
    >>> speaker("yes/0137b3f4_nohash_2.wav")
    '0137b3f4'
    """
    return Path(filename).name.partition("_nohash_")[0]


def partition(filename: str | os.PathLike[str], *, validation_percent: float = 10, testing_percent: float = 10) -> str:
    """Put a clip into its partition by the SHA-1 of its speaker.

    Parameters
    ----------
    filename : str or path
        folders before the name don't count
    validation_percent, testing_percent : number >= 0, together at most 100
        share of the speakers, in per cent

    Returns
    -------
    str
        `training`, `validation` or `testing`

    Examples
    --------
    >>> partition("cat/8b775397_nohash_0.wav")
    'validation'
    """
    if validation_percent < 0 or testing_percent < 0 or validation_percent + testing_percent > 100:
        raise ConfigError(
            f"validation_percent {validation_percent} and testing_percent {testing_percent}:"
            " both must be 0 or more, and 100 or less together"
        )
    digest = hashlib.sha1(speaker(filename).encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    # Modulus and divisor differ by one in the published code; exactly so, or clips at the edge change sides.
    percent = (int(digest, 16) % (MAX_NUM_WAVS_PER_CLASS + 1)) * (100.0 / MAX_NUM_WAVS_PER_CLASS)
    if percent < validation_percent:
        return "validation"
    if percent < validation_percent + testing_percent:
        return "testing"
    return "training"


def partition_lists(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read the lists that a data folder carries.

    Returns
    -------
    dict of str to list of str
        for each of `validation_list.txt` and `testing_list.txt` that exists: the partition, and its clips as paths
        relative to `folder`, with forward slashes
    """
    lists = {}
    for name, file_name in LIST_NAMES.items():
        file = Path(folder) / file_name
        if not file.is_file():
            continue
        lines = text_files.read(file, "make it a list of file names, or remove it").splitlines()
        entries = (line.strip().replace("\\", "/") for line in lines)
        lists[name] = [str(PurePosixPath(entry)) for entry in entries if entry]
    return lists


def listed_partitions(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Map each clip on a list of the folder to its partition; empty where the folder carries no list.

    Returns
    -------
    dict of str to str
        path relative to `folder`, with forward slashes, to `validation` or `testing`. A clip on both lists counts as
        testing; one on neither is for training and isn't in here.
    """
    return {entry: name for name, entries in partition_lists(folder).items() for entry in entries}
