"""python -m data_scripts.beds SPEECH DEST: babble, mixed of running speech, as WAV files.

A file has 40 s of one to six talkers (one in half of the files), each with utterances of one speaker after another,
pauses and a level of its own; some have music, half have reverberation. Training adds them to words
(`augment.bed_probability`), and uses them alone.

The name of a file decides its partition, and its talkers are of that partition: no held-out speaker is trained on.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as numbers
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from data_scripts.synthesize import save
from speechrnn import audio, level
from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import InputError
from speechrnn.evaluation import corpus
from speechrnn.programs import report_errors
from speechrnn.terminal import plain_console

SECONDS = 40.0
MOST_TALKERS = 6
ONE_TALKER_SHARE = 0.5
PAUSE_SECONDS = 0.1, 2.5  # between utterances of a talker
TALKER_DB = -10.0, 0.0  # level of each talker against the loudest possible one
MUSIC_SHARE, MUSIC_DB = 0.3, (-25.0, -8.0)  # against the talkers
ROOM_SHARE, ROOM_SECONDS, ROOM_RATIO_DB = 0.5, (0.2, 0.8), (-3.0, 12.0)  # as of `room_response`
LEVEL_DB = -26.0  # of a whole bed below full scale, mean power
Parts = dict[bool, list[Path]]  # recordings of training (True), and those that are held out


def parted(folder: Path) -> Parts:
    """The recordings below a folder, as `corpus.of_training` and `corpus.held_out` part them."""
    found = audio.sound_files(folder)
    return {True: list(corpus.of_training(found)), False: list(corpus.held_out(found))}


def names(count: int) -> Iterator[tuple[str, bool]]:
    """Names of `count` files for training and of the held-out ones between them, and whether each is for training."""
    found = 0
    for number in numbers():
        if found == count:
            return
        name = f"talkers{number:04}.wav"
        trained = bool(list(corpus.of_training([Path(name)])))
        found += trained
        yield name, trained


def speakers(recordings: Sequence[Path]) -> list[list[Path]]:
    """Recordings of one speaker (`SPEAKER-CHAPTER-UTTERANCE`) stand together."""
    of: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in recordings:
        of[path.parent, path.stem.split("-")[0]].append(path)
    return list(of.values())


def rms(sound: np.ndarray) -> float:
    """Root mean square, at least 1e-6: a divisor."""
    return max(level.rms(sound), 1e-6)


def gain(rng: np.random.Generator, db: tuple[float, float]) -> np.float32:
    return np.float32(level.db_to_amplitude(rng.uniform(*db)))


def talker(rng: np.random.Generator, of: Sequence[Sequence[Path]], samples: int) -> np.ndarray:
    """One speaker after another, without overlap [samples]."""
    speech = np.zeros(samples, np.float32)
    position = -int(rng.uniform(0.0, 3.0) * SAMPLE_RATE)  # in the middle of a sentence
    while position < samples:
        for path in rng.permutation(np.array(of[int(rng.integers(len(of)))], dtype=object)):
            sound = audio.load(path)
            sound = sound / np.float32(rms(sound))
            first, last = max(0, position), min(samples, position + len(sound))
            if first < last:
                speech[first:last] += sound[first - position : last - position]
            position += len(sound) + int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE)
            if position >= samples:
                break
    return speech * gain(rng, TALKER_DB)


def bed(
    rng: np.random.Generator, speech: Sequence[Sequence[Path]], music: Sequence[Path], seconds: float = SECONDS
) -> np.ndarray:
    """Talkers, perhaps with music under them, perhaps through a room, at LEVEL_DB [samples]."""
    from speechrnn.training.augment import room_response

    samples = int(seconds * SAMPLE_RATE)
    talkers = 1 if rng.random() < ONE_TALKER_SHARE else int(rng.integers(2, MOST_TALKERS + 1))
    mixed = np.sum([talker(rng, speech, samples) for _ in range(talkers)], axis=0)
    if music and rng.random() < MUSIC_SHARE:
        played = audio.load(music[int(rng.integers(len(music)))])
        played = np.resize(np.roll(played, -int(rng.integers(len(played)))), samples)
        mixed += played / np.float32(rms(played)) * np.float32(rms(mixed)) * gain(rng, MUSIC_DB)
    if rng.random() < ROOM_SHARE:
        length = 1 << (samples + SAMPLE_RATE - 1).bit_length()
        response = room_response(rng, SAMPLE_RATE, ROOM_SECONDS, ROOM_RATIO_DB)
        mixed = np.fft.irfft(np.fft.rfft(mixed, length) * np.fft.rfft(response, length), length)[:samples]
    return np.clip(mixed * (level.db_to_amplitude(LEVEL_DB) / rms(mixed)), -1.0, 1.0).astype(np.float32)


def make(speech: Path, dest: Path, music: Path | None, count: int, seed: int, seconds: float) -> Mapping[bool, int]:
    """Write the files; returns how many are for training (True), and how many held out.

    Raises
    ------
    InputError
        if a folder holds no sound, or no speaker for one of the partitions
    """
    of = {trained: speakers(paths) for trained, paths in parted(speech).items()}
    played: Parts = parted(music) if music else {True: [], False: []}
    made = {True: 0, False: 0}
    wanted = list(names(count))
    for trained in {trained for _, trained in wanted}:
        if not of[trained]:
            kind = "for training" if trained else "that is held out from training"
            raise InputError(f"{speech}: has no speaker {kind}: give more recordings")
    for number, (name, trained) in enumerate(
        track(wanted, "mixing", console=plain_console(stderr=True), transient=True)
    ):
        save(bed(np.random.default_rng((seed, number)), of[trained], played[trained], seconds), dest / name)
        made[trained] += 1
    return made


def main(
    speech: Annotated[Path, typer.Argument(metavar="SPEECH", help="Folder of running speech")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the beds; made if it isn't there")],
    music: Annotated[Path | None, typer.Option(help="Folder of music for under some of them")] = None,
    count: Annotated[int, typer.Option(min=1, help="Beds to train on; a quarter more are held out")] = 240,
    seconds: Annotated[float, typer.Option(min=2.0, max=600.0, help="Length of each")] = SECONDS,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same beds")] = 0,
) -> None:
    """Mix talkers for the background out of running speech.

    Example: python -m data_scripts.beds ../data/speech ../data/beds --music ../data/noise/music_librosa
    """
    with report_errors():
        made = make(speech, dest, music, count, seed, seconds)
        typer.echo(f"{dest}: {made[True]} beds to train on, {made[False]} held out")


if __name__ == "__main__":
    typer.run(main)
