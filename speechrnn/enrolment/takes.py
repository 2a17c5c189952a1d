"""Recordings of an own word, cut into takes with their endpoints; what can't be used is named."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechrnn import audio
from speechrnn.errors import AudioError, InputError
from speechrnn.evaluation.endpoints import FRAME, loud_stretches

RATE = audio.SAMPLE_RATE
LONGEST_PAUSE = 35  # frames within a take: two words of a phrase, or the closure of a t
FLOOR_QUANTILE = 0.1
TAKE_BELOW_LOUDEST_DB = 18.0  # a weaker stretch is a breath or a chair
SHORTEST_SECONDS, LONGEST_SECONDS = 0.12, 2.5
LEAST_SNR_DB = 6.0  # less than that above the quietest tenth, and no endpoints can be found
NOISY_SNR_DB = 15.0
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 0.6  # of the recording around a take that are kept with it
MOST_SECONDS = 1800.0  # of one file


@dataclass(frozen=True)
class Take:
    """One utterance of a word: its sound with what is around it, and where in it the word begins and ends."""

    name: str  # of the file, and the time in it where the file has several
    sound: np.ndarray  # float32 [samples]
    start: float  # seconds from the start of `sound`
    end: float
    snr_db: float  # of the word's loudest tenth of a second above the quietest frames of the recording
    recording: int = 0  # number of the file that it comes from

    @property
    def seconds(self) -> float:
        return self.end - self.start


def stretches(sound: np.ndarray) -> tuple[np.ndarray, float, list[tuple[int, int]]]:
    """The level of each frame of 10 ms in dB, the floor, and the stretches of sound above it, in frames [start, end).

    The rule is that of `endpoints`, with a lower floor and across longer pauses: a phrase is one take.
    """
    level, floor, found = loud_stretches(sound, floor_quantile=FLOOR_QUANTILE, longest_pause=LONGEST_PAUSE)
    return level, floor, [(int(part[0]), int(part[-1]) + 1) for part in found]


def split(sound: np.ndarray, name: str, recording: int = 0) -> list[Take]:
    """The takes in a recording [samples] at 16 kHz.

    Raises
    ------
    AudioError
        if nothing in it stands out, or the only thing that does is too short or too long for a word
    """
    if len(sound) < SHORTEST_SECONDS * RATE:
        raise AudioError(f"{name}: is {len(sound) / RATE:.2f} s long, too short for a word: record it again")
    level, floor, found = stretches(sound)
    if level.max() - floor < LEAST_SNR_DB:
        raise AudioError(f"{name}: nothing in it stands out by {LEAST_SNR_DB:g} dB: record closer, or leave it out")
    found = [part for part in found if level[slice(*part)].max() >= level.max() - TAKE_BELOW_LOUDEST_DB]
    seconds = [(end - start) * FRAME / RATE for start, end in found]
    usable = [part for part, long in zip(found, seconds, strict=True) if SHORTEST_SECONDS <= long <= LONGEST_SECONDS]
    if not usable:
        longest = max(seconds)
        remedy = "leave a second of silence between takes" if longest > LONGEST_SECONDS else "record it again"
        raise AudioError(
            f"{name}: its take lasts {longest:.2f} s, {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g} s are taken: {remedy}"
        )
    takes = []
    edges = [0, *(end for _, end in found), len(level)]
    following = [*(start for start, _ in found[1:]), len(level)]
    for start, end in usable:
        number = found.index((start, end))
        first = max(edges[number] * FRAME, start * FRAME - round(BEFORE_SECONDS * RATE), 0)
        stop = min(following[number] * FRAME, end * FRAME + round(AFTER_SECONDS * RATE), len(sound))
        if number == len(found) - 1:
            stop = min(len(sound), end * FRAME + round(AFTER_SECONDS * RATE))
        snr = float(np.sort(level[start:end])[-10:].mean()) - floor
        label = name if len(usable) == 1 else f"{name} at {start * FRAME / RATE:.1f} s"
        begins, ends = (start * FRAME - first) / RATE, (end * FRAME - first) / RATE
        takes.append(Take(label, sound[first:stop].astype(np.float32), begins, ends, snr, recording))
    return takes


def files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The sound files that are named, those in folders among them.

    Raises
    ------
    InputError
        if one is not there, or a folder holds no sound
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if os.path.isdir(path):
            found += audio.sound_files(path)
        elif os.path.exists(path):
            found.append(path)
        else:
            raise InputError(f"{path}: is not there: name recordings, or a folder of them")
    return list(dict.fromkeys(found))


def read(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Take], list[str]]:
    """Takes of the recordings that are named (files and folders), and a line for each that can't be used."""
    takes: list[Take] = []
    remarks: list[str] = []
    for number, path in enumerate(files(paths)):
        try:
            takes += split(audio.load(path, max_seconds=MOST_SECONDS), str(path), number)
        except AudioError as error:
            remarks.append(str(error))
    return takes, remarks
