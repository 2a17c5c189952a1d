"""Lists of labelled clips, from folders of sound.

The layout is that of Speech Commands: a folder for each word, `_background_noise_` beside them. The clips of a
partition are those of its speakers, by the folder's own lists where it carries them, by the published rule where not.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechrnn import audio, folders
from speechrnn.card import SILENCE
from speechrnn.channels import Channel
from speechrnn.errors import AudioError, ConfigError
from speechrnn.evaluation.partition import listed_partitions, partition
from speechrnn.level import db_to_amplitude
from speechrnn.text import label_fault

UNKNOWN, BACKGROUND = "_unknown_", "_background_noise_"
TEN_WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
THIRTY_FIVE_WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy"),
    *("house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop"),
    *("three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)
CLIP_SECONDS = 1.0
SHARE_OF_OTHERS = 0.10  # _unknown_ and _silence_ in an evaluation, each of the number of words (published proportion)
VALIDATION_NOISE_FROM = 0.8  # the last fifth of each background recording is never trained on


@dataclass(frozen=True)
class Clip:
    """A piece of sound and its label."""

    path: Path
    word: str  # the folder's name
    label: str
    start_seconds: float = 0.0
    seconds: float | None = None  # None: to the end
    gain: float = 1.0

    def sound(self, channel: Channel = "mean") -> Path | np.ndarray:
        """What `Model.classify` takes: the file, or the piece of it as float32 mono 16 kHz [samples]."""
        if self.seconds is None:
            return self.path
        recording = _recording(self.path, channel)
        start = int(self.start_seconds * audio.SAMPLE_RATE)
        return recording[start : start + int(self.seconds * audio.SAMPLE_RATE)] * np.float32(self.gain)


@functools.lru_cache(maxsize=16)
def _recording(path: Path, channel: Channel = "mean") -> np.ndarray:
    return audio.load(path, channel=channel)  # noise is cut many times from few recordings


def task_labels(task: str) -> tuple[str, ...]:
    """Labels of a task: `12` (ten words, _unknown_, _silence_), `35` (all words, nothing else), or words with commas.

    A list of words gets `_unknown_` and `_silence_` besides.
    """
    if task == "35":
        return THIRTY_FIVE_WORDS
    words = TEN_WORDS if task == "12" else tuple(word.strip() for word in task.split(",") if word.strip())
    if not words or len({*words, UNKNOWN, SILENCE}) != len(words) + 2:
        raise ConfigError(f"task {task!r}: give 12, 35, or different words separated by commas")
    if fault := next(filter(None, map(label_fault, words)), ""):
        raise ConfigError(f"task: {fault}: name another word")
    return (*words, UNKNOWN, SILENCE)


def word_clips(folder: Path, labels: Sequence[str], part: str | None) -> list[Clip]:
    """The clips of the word folders below `folder`.

    Parameters
    ----------
    folder : in the layout of Speech Commands
    labels : of the task
        other words become `_unknown_`; where that is no label of the task, they are left out
    part : training, validation or testing, or None for the clips of all

    Raises
    ------
    AudioError
        if there is no such clip
    """
    listed = listed_partitions(folder) if part else {}
    clips, of_no_word, of_no_label = [], [], []
    for path in audio.sound_files(folder):
        relative = path.relative_to(folder)
        word = relative.parts[0]
        if len(relative.parts) < 2:
            of_no_word.append(relative)
            continue
        if word == BACKGROUND:
            continue
        label = word if word in labels else UNKNOWN
        if label not in labels:
            of_no_label.append(relative)
            continue
        belongs = (listed.get(relative.as_posix(), "training") if listed else partition(path)) if part else None
        if belongs == part:
            clips.append(Clip(path, word, label))
    for left_out, why in ((of_no_word, "in no folder of a word"), (of_no_label, "their words are none of the labels")):
        if left_out:
            folders.warn([f"{folder}: {len(left_out)} left out, such as {left_out[0]}: {why}"])
    if not clips:
        which = f"the {part} partition" if part else "the words"
        raise AudioError(f"{folder}: no clips of {which} in it: expected a folder for each word")
    return clips


def noise_recordings(folder: Path) -> list[Path]:
    """The background recordings of a Speech Commands folder; none if it carries none."""
    background = folder / BACKGROUND
    return audio.sound_files(background) if background.is_dir() else []


def silence_clips(recordings: Sequence[Path], count: int, seed: int, part: str | None) -> list[Clip]:
    """`count` cuts of one second from `recordings` at levels over 30 dB, one in ten of them digital silence.

    Of the validation partition (`part`): from the end of each recording, which is held out from training.
    """
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(count):
        path = recordings[i % len(recordings)]
        seconds = len(_recording(path)) / audio.SAMPLE_RATE
        first = seconds * VALIDATION_NOISE_FROM if part == "validation" else 0.0
        start = rng.uniform(first, max(first, seconds - CLIP_SECONDS))
        gain = 0.0 if rng.random() < 0.1 else db_to_amplitude(rng.uniform(-30.0, 0.0))
        clips.append(Clip(path, BACKGROUND, SILENCE, start, CLIP_SECONDS, gain))
    return clips


def evaluation_clips(folder: str | Path, labels: Sequence[str], part: str | None = None, seed: int = 0) -> list[Clip]:
    """The clips on which accuracy is measured: the same list for the same folder, labels, partition and seed.

    With a partition, in the published proportions: all clips of the words, and a tenth as many of other words and of
    noise. Without one, every clip there is. Folders named `_unknown_` and `_silence_` (the published test sets have
    them) are taken as they are.
    """
    folder = Path(folder)
    clips = word_clips(folder, labels, part)
    words = [c for c in clips if c.label not in (UNKNOWN, SILENCE)]
    unknown = [c for c in clips if c.label == UNKNOWN]
    silence = [c for c in clips if c.label == SILENCE]
    count = math.ceil(SHARE_OF_OTHERS * len(words))
    if part and len(unknown) > count and not (folder / UNKNOWN).is_dir():
        chosen = np.random.default_rng(seed).choice(len(unknown), count, replace=False)
        unknown = [unknown[i] for i in sorted(chosen)]
    recordings = noise_recordings(folder)
    if SILENCE in labels and not silence and recordings:
        silence = silence_clips(recordings, count or len(unknown), seed, part)
    return words + unknown + silence


def of_training(recordings: Iterable[Path]) -> Iterator[Path]:
    """Other sound is parted as clips are: by its speaker (`SPEAKER-CHAPTER-UTTERANCE`), otherwise by its name.

    A recording that is there twice (librosa's examples, in two qualities: NAME and NAME_hq) is so on one side.
    """
    return filter(_is_trained_on, recordings)


def held_out(recordings: Iterable[Path]) -> Iterator[Path]:
    """The recordings that `of_training` leaves out: never trained on, and counted on, each once."""
    kept = {path.with_stem(path.stem.removesuffix("_hq")): path for path in recordings if not _is_trained_on(path)}
    yield from kept.values()


def _is_trained_on(recording: Path) -> bool:
    return partition(recording.stem.split("-")[0].removesuffix("_hq")) == "training"
