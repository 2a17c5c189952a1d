"""Training batches of augmented clips, and of sequences for streams, composed from audio in memory.

A batch depends on the seed, the epoch and its number alone, not on the number of workers.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import AudioError, ConfigError
from speechrnn.evaluation import corpus
from speechrnn.model import Sound
from speechrnn.training.audio_pool import CLIP_SAMPLES, AudioPool, LongClips, Progress, loudest_second
from speechrnn.training.augment import Augment
from speechrnn.training.config import Config
from speechrnn.training.feature_distillation import NO_EMBEDDINGS, TeacherEmbeddings
from speechrnn.training.sequences import Sequences

PREFETCHED_BATCHES = 8  # of each worker
VALIDATION_SEQUENCES = 128
SPEECH, NOISE, PSEUDO_WORD = -1, -2, -3  # instead of a clip: a cut of running speech, noise, a pseudo-word
NO_SEQUENCES = torch.zeros(0, 0), torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64)


class Batch(NamedTuple):
    """A training batch, or one process's rows of it."""

    audio: Tensor  # float32 [clips, samples]
    target: Tensor  # int64 [clips], or with posteriors of teachers float32 [clips, labels]
    moments: Tensor  # int64 [clips, moments], as of `TeacherEmbeddings.batch`; empty without data.hints
    embeddings: Tensor  # float32 [clips, moments, size]
    stream: Tensor  # float32 [rows, samples]; empty, as the next two, without stream.rows
    stream_target: Tensor  # int64 [rows, blocks], as of `Sequences.batch`
    words: Tensor  # int64 [words, 3]: row, first block, label


def sequences(config: Config, pool: AudioPool, labels: Sequence[str]) -> Sequences | None:
    """The composer of sequences; None where a run is on clips alone."""
    if not config.stream.rows:
        return None
    if not {corpus.UNKNOWN, corpus.SILENCE} <= set(labels):
        raise ConfigError("stream.rows: a stream needs _unknown_ and _silence_ among the labels: set it to 0")
    return Sequences(config.stream, pool, labels, Augment(config.augment), config.front_end.block_length)


def part(batch: Batch, process: int, processes: int) -> Batch:
    """The rows of one process; two views of a clip, half a batch apart, stay together if parts are equally large."""
    words = batch.words
    words = words[words[:, 0] % processes == process]
    words[:, 0] //= processes
    rows = (tensor[process::processes].contiguous() for tensor in batch[:-1])
    return Batch._make((*rows, words))


class TrainingData(Dataset):
    """Item i is the i-th `Batch` of the epoch, or one process's rows of it.

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
        self.pool = AudioPool(config.data, labels, "training", progress)
        self.embeddings = TeacherEmbeddings(config.data.hints, self.pool.clips) if config.data.hints else None
        self.augment = Augment(config.augment)
        self.clips_per_batch = config.train.batch_size // (2 if config.augment.twins else 1)
        self.posteriors: Tensor | None = None  # of teachers, for the clips of the folder itself [own clips, labels]
        self.block_length = config.front_end.block_length
        self.sequences = sequences(config, self.pool, labels)
        words = [w for w, label in self.pool.label_of.items() if label not in (corpus.UNKNOWN, corpus.SILENCE)]
        self.clips_per_word = round(np.mean([len(self.pool.by_word[w]) for w in words]))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the epoch's order: every word equally often, so a word with few clips isn't neglected."""
        self.epoch = epoch
        rng = np.random.default_rng((self.config.train.seed, epoch))
        order: list[tuple[int, int]] = []  # clip, or one of the kinds below; label
        label = {name: i for i, name in enumerate(self.labels)}
        for word in self.pool.commands:
            clips = self.pool.by_word[word]
            rounds = [rng.permutation(clips) for _ in range(-(-self.clips_per_word // len(clips)))]
            chosen = np.concatenate(rounds)[: self.clips_per_word]
            order += [(int(i), label[self.pool.label_of[word]]) for i in chosen]
        if corpus.UNKNOWN in label:
            count = round(self.clips_per_word * self.config.data.unknown_share)
            cuts = round(count * self.config.data.speech_share) if self.pool.speech else 0
            made = round(count * self.config.data.made_words_share)
            order += [(SPEECH, label[corpus.UNKNOWN])] * cuts + [(PSEUDO_WORD, label[corpus.UNKNOWN])] * made
            others = self.pool.others
            rest = max(0, count - cuts - made)  # the two that are rounded can be one more
            for word in rng.choice(others, rest, p=self.pool.other_probabilities) if others else ():
                order.append((int(rng.choice(self.pool.by_word[word])), label[corpus.UNKNOWN]))
        if corpus.SILENCE in label and self.pool.background:
            order += [(NOISE, label[corpus.SILENCE])] * round(self.clips_per_word * self.config.data.silence_share)
        self.order = [order[i] for i in rng.permutation(len(order))]

    def check_batch_size(self) -> None:
        """Raise ConfigError if a batch is larger than an epoch, with how many clips that has and what would do."""
        if len(self):
            return
        views = self.config.train.batch_size // self.clips_per_batch
        unit, clips = views * self.processes, len(self.order)
        most = clips * views // unit * unit
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
                sounds[row] = torch.from_numpy(self.pool.clip(clip))
            elif clip == SPEECH:
                bed = self.config.data.bed_share and rng.random() < self.config.data.bed_share
                sounds[row] = torch.from_numpy((self.pool.beds if bed else self.pool.speech).cut(rng, CLIP_SAMPLES))
            elif clip == PSEUDO_WORD:
                sounds[row] = torch.from_numpy(self.pool.pseudo_word(rng))
        silent = np.array([clip == NOISE for clip, _ in chosen])
        beds = self.pool.draw_bed if self.config.augment.bed_probability else None
        batch, starts = self.augment(rng, sounds, silent, self.pool.draw_noise, length, tail, beds)
        clips, labels = np.tile(np.array(chosen), (len(batch) // size, 1)).T
        known = self.embeddings.batch(clips, starts, length, self.block_length) if self.embeddings else NO_EMBEDDINGS
        stream = self.sequences.batch(rng, self.config.stream.rows) if self.sequences else NO_SEQUENCES
        targets = self._targets(clips, torch.from_numpy(labels))
        return part(Batch(batch, targets, *known, *stream), self.process, self.processes)

    def _targets(self, clips: np.ndarray, labels: Tensor) -> Tensor:
        """Labels [batch], or means of one-hot labels and the posteriors of teachers [batch, labels]."""
        if self.posteriors is None:
            return labels
        weight, target = self.config.train.teacher_weight, F.one_hot(labels, len(self.labels)).float()
        distilled = torch.from_numpy((clips >= 0) & (clips < len(self.posteriors)))
        mixed = (1.0 - weight) * target[distilled] + weight * self.posteriors[torch.from_numpy(clips)[distilled]]
        target[distilled] = mixed
        return target

    def validation_sequences(self) -> tuple[Tensor, Tensor, Tensor]:
        """A fixed set of sequences of held-out audio; empty where there are none."""
        if not self.sequences:
            return NO_SEQUENCES
        validation = AudioPool(self.config.data, self.labels, "validation")
        rng = np.random.default_rng(0)
        held_out = sequences(self.config, validation, self.labels)
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
    """The validation clips of a folder, checked before hours of audio are read.

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
