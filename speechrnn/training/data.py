"""Training batches: clips, and sequences for the stream, put together anew for each batch from sounds in memory.

A batch depends on the seed, the epoch and its number alone, so it is the same however many workers prepare it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import AudioError, ConfigError
from speechrnn.evaluation import corpus
from speechrnn.model import Sound
from speechrnn.training.augment import Augment
from speechrnn.training.config import Config
from speechrnn.training.hints import NO_HINTS, Hints
from speechrnn.training.sequences import Sequences
from speechrnn.training.sounds import CLIP_SAMPLES, LongClips, Progress, Sounds, loudest_second

PREFETCHED_BATCHES = 8  # of each worker
VALIDATION_SEQUENCES = 128
SPEECH, NOISE, MADE_WORD = -1, -2, -3  # instead of a clip: a cut of running speech, noise, a word that nobody says
Batch = tuple[Tensor, ...]  # as `TrainingData` describes it

NO_SEQUENCES = torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64)


def sequences(config: Config, sounds: Sounds, labels: Sequence[str]) -> Sequences | None:
    """What puts sequences together; None where a run is on clips alone."""
    if not config.stream.rows:
        return None
    if not {corpus.UNKNOWN, corpus.SILENCE} <= set(labels):
        raise ConfigError("stream.rows: a stream needs _unknown_ and _silence_ among the labels: set it to 0")
    return Sequences(config.stream, sounds, labels, Augment(config.augment), config.front_end.block_length)


def part(batch: Batch, process: int, processes: int) -> Batch:
    """The rows of one process; twins, which are half a batch apart, stay together where all parts are equally large."""
    *tensors, words = batch
    words = words[words[:, 0] % processes == process]
    words[:, 0] //= processes
    return *(tensor[process::processes].contiguous() for tensor in tensors), words


class TrainingData(Dataset):
    """Item i is the i-th batch of the epoch, or one process's part of it.

    Clips: audio float32 [batch, samples], labels int64 [batch]; where `posteriors` are set, float32 [batch, labels]:
    the label and what teachers have heard in the clip, as train.teacher_weight has it. Hints: int64 [batch, moments]
    and float32 [batch, moments, size], as in `Hints.batch`; empty without `data.hints`. Sequences: audio float32 [rows,
    samples], targets int64 [rows, blocks] and words int64 [words, 3] as in `Sequences.batch`; all empty where
    `stream.rows` is 0.

    Parameters
    ----------
    config : Config
    labels : sequence of str
    progress : function(done, total), called while files are read
    process, processes : which part of each batch, of how many; see `part`
    """

    def __init__(
        self,
        config: Config,
        labels: Sequence[str],
        progress: Progress = lambda done, total: None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.config, self.labels, self.epoch = config, tuple(labels), 0
        self.process, self.processes = process, processes
        self.sounds = Sounds(config.data, labels, "training", progress)
        self.hints = Hints(config.data.hints, self.sounds.clips) if config.data.hints else None
        self.augment = Augment(config.augment)
        self.clips_per_batch = config.train.batch_size // (2 if config.augment.twins else 1)
        self.posteriors: Tensor | None = None  # of teachers, for the clips of the folder itself [own clips, labels]
        self.block_length = config.front_end.block_length
        self.sequences = sequences(config, self.sounds, labels)
        words = [w for w, label in self.sounds.label_of.items() if label not in (corpus.UNKNOWN, corpus.SILENCE)]
        self.clips_per_word = round(np.mean([len(self.sounds.by_word[w]) for w in words]))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the epoch's order: every word equally often, so a word with few clips isn't neglected."""
        self.epoch = epoch
        rng = np.random.default_rng((self.config.train.seed, epoch))
        order: list[tuple[int, int]] = []  # clip, or one of the kinds below; label
        label = {name: i for i, name in enumerate(self.labels)}
        for word in self.sounds.commands:
            clips = self.sounds.by_word[word]
            rounds = [rng.permutation(clips) for _ in range(-(-self.clips_per_word // len(clips)))]
            chosen = np.concatenate(rounds)[: self.clips_per_word]
            order += [(int(i), label[self.sounds.label_of[word]]) for i in chosen]
        if corpus.UNKNOWN in label:
            count = round(self.clips_per_word * self.config.data.unknown_share)
            cuts = round(count * self.config.data.speech_share) if self.sounds.speech else 0
            made = round(count * self.config.data.made_words_share)
            order += [(SPEECH, label[corpus.UNKNOWN])] * cuts + [(MADE_WORD, label[corpus.UNKNOWN])] * made
            others = self.sounds.others
            rest = max(0, count - cuts - made)  # the two that are rounded can be one more
            for word in rng.choice(others, rest, p=self.sounds.other_shares) if others else ():
                order.append((int(rng.choice(self.sounds.by_word[word])), label[corpus.UNKNOWN]))
        if corpus.SILENCE in label and self.sounds.background:
            order += [(NOISE, label[corpus.SILENCE])] * round(self.clips_per_word * self.config.data.silence_share)
        self.order = [order[i] for i in rng.permutation(len(order))]

    def check_batch_size(self) -> None:
        """Raise ConfigError if a batch is larger than an epoch, with how many clips that has and what would do."""
        if len(self):
            return
        twins = self.config.train.batch_size // self.clips_per_batch
        unit, clips = twins * self.processes, len(self.order)
        most = clips * twins // unit * unit
        does = f"{most} or less would do" if most else "those are too few for any: add recordings"
        raise ConfigError(
            f"train.batch_size: {self.config.train.batch_size} is too large: an epoch has {clips} clips: {does}"
        )

    def __len__(self) -> int:
        return len(self.order) // self.clips_per_batch

    def __getitem__(self, index: int) -> Batch:
        size = self.clips_per_batch
        rng = np.random.default_rng((self.config.train.seed, self.epoch, index))
        chosen = self.order[index * size : (index + 1) * size]
        tail = self.config.tail_samples
        length = CLIP_SAMPLES + tail
        if rng.random() < self.config.augment.long_batch_probability:
            length += int(rng.uniform(0, SAMPLE_RATE)) // self.block_length * self.block_length
        sounds = torch.zeros(size, CLIP_SAMPLES)
        for row, (clip, _) in enumerate(chosen):
            if clip >= 0:
                sounds[row] = torch.from_numpy(self.sounds.clip(clip))
            elif clip == SPEECH:
                bed = self.config.data.bed_share and rng.random() < self.config.data.bed_share
                sounds[row] = torch.from_numpy((self.sounds.beds if bed else self.sounds.speech).cut(rng, CLIP_SAMPLES))
            elif clip == MADE_WORD:
                sounds[row] = torch.from_numpy(self.sounds.made_word(rng))
        silent = np.array([clip == NOISE for clip, _ in chosen])
        beds = self.sounds.draw_bed if self.config.augment.bed_probability else None
        batch, starts = self.augment(rng, sounds, silent, self.sounds.draw_noise, length, tail, beds)
        clips, labels = np.tile(np.array(chosen), (len(batch) // size, 1)).T
        hints = self.hints.batch(clips, starts, length, self.block_length) if self.hints else NO_HINTS
        stream = self.sequences.batch(rng, self.config.stream.rows) if self.sequences else NO_SEQUENCES
        return part(
            (batch, self._targets(clips, torch.from_numpy(labels)), *hints, *stream), self.process, self.processes
        )

    def _targets(self, clips: np.ndarray, labels: Tensor) -> Tensor:
        """Labels [batch], or what they and the teachers say of the clips [batch, labels]."""
        if self.posteriors is None:
            return labels
        weight, target = self.config.train.teacher_weight, F.one_hot(labels, len(self.labels)).float()
        taught = torch.from_numpy((clips >= 0) & (clips < len(self.posteriors)))
        target[taught] = (1.0 - weight) * target[taught] + weight * self.posteriors[torch.from_numpy(clips)[taught]]
        return target

    def validation_sequences(self) -> tuple[Tensor, Tensor, Tensor]:
        """A fixed set of sequences of sound that is never trained on; empty where there are none."""
        if not self.sequences:
            return NO_SEQUENCES
        kept_away = Sounds(self.config.data, self.labels, "validation")
        rng = np.random.default_rng(0)
        held_out = sequences(self.config, kept_away, self.labels)
        return held_out.batch(rng, VALIDATION_SEQUENCES) if held_out else NO_SEQUENCES

    def loader(self) -> DataLoader:
        """Batches of the current epoch, prepared by worker processes."""
        workers = self.config.train.workers
        return DataLoader(
            self,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=PREFETCHED_BATCHES if workers else None,
            worker_init_fn=_one_thread,
        )


def _one_thread(_: int) -> None:
    """Not a lambda: where workers are spawned rather than forked (macOS, Windows, Python 3.14), it is pickled."""
    torch.set_num_threads(1)


def validation_clips(folder: str, labels: Sequence[str]) -> list[corpus.Clip]:
    """What a run is measured on; to be asked for before hours of sound are read.

    Raises
    ------
    ConfigError, AudioError
        if there is no such folder, or no clip of a word in it that is for validation
    """
    if not folder:
        raise ConfigError("data.folder: is not set: name the folder that has a folder for each word")
    words = set(labels) - {corpus.UNKNOWN, corpus.SILENCE}
    try:
        found = {clip.label for clip in corpus.word_clips(Path(folder), labels, "validation")}
    except AudioError:
        corpus.word_clips(Path(folder), labels, None)  # says so if it is the folder that is wrong
        found = set()
    if not found & words:
        raise ConfigError(
            f"data.folder: {folder} has no clips of its words for validation: those of a tenth of the speakers are, by"
            " their names: add more speakers, or name clips in a validation_list.txt"
        )
    return corpus.evaluation_clips(folder, labels, "validation")


def evaluation_tensors(clips: Sequence[corpus.Clip], labels: Sequence[str], tail: int) -> tuple[Tensor, Tensor]:
    """Clips of one second followed by `tail` samples of digital silence [clips, samples], and their labels [clips]."""
    sounds = clip_tensor([clip.sound() for clip in clips], tail)
    return sounds, torch.tensor([labels.index(c.label) for c in clips])


def clip_tensor(sounds: Sequence[Sound], tail: int) -> Tensor:
    """The loudest second of each sound, followed by `tail` samples of digital silence [sounds, samples]."""
    long_clips = LongClips()

    def padded(sound: Sound) -> np.ndarray:
        second = loudest_second(sound) if isinstance(sound, np.ndarray) else long_clips.second_of(sound)
        return np.pad(second, (0, tail))

    with ThreadPoolExecutor() as pool:
        stacked = torch.from_numpy(np.stack(list(pool.map(padded, sounds))))
    long_clips.warn("validated on")
    return stacked
