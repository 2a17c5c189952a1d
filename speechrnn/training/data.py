"""Training batches: clips, other speech and noise held in memory as 16-bit samples, put together anew for each batch.

A batch depends on the seed, the epoch and its number alone, so it is the same however many workers prepare it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from speechrnn import audio
from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError
from speechrnn.training import corpus
from speechrnn.training.augment import Augment
from speechrnn.training.config import Config
from speechrnn.training.network import HOPS_PER_BLOCK

PREFETCHED_BATCHES = 8  # of each worker
CLIP_SAMPLES = int(corpus.CLIP_SECONDS * SAMPLE_RATE)
Progress = Callable[[int, int], None]  # done, of how many


def loudest_second(sound: np.ndarray) -> np.ndarray:
    """The second with the most energy of a longer sound; a shorter one is padded with zeros. [CLIP_SAMPLES]"""
    if len(sound) <= CLIP_SAMPLES:
        return np.pad(sound, (0, CLIP_SAMPLES - len(sound)))
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    start = int(np.argmax(energy[CLIP_SAMPLES:] - energy[:-CLIP_SAMPLES]))
    return sound[start : start + CLIP_SAMPLES]


def to_int16(sound: np.ndarray) -> np.ndarray:
    return np.clip(np.round(sound * 32768.0), -32768, 32767).astype(np.int16)


def read_all(paths: Sequence[Path], keep: Callable[[np.ndarray], np.ndarray], progress: Progress) -> list[np.ndarray]:
    """Read files on all cores; each is kept as `keep` makes of it, in 16 bits."""
    sounds = []
    with ThreadPoolExecutor() as pool:
        for sound in pool.map(lambda path: to_int16(keep(audio.load(path))), paths):
            sounds.append(sound)
            progress(len(sounds), len(paths))
    return sounds


class Recordings:
    """Long sounds end to end, from which pieces are cut."""

    def __init__(self, sounds: Sequence[np.ndarray]) -> None:
        self.sounds = list(sounds)

    def __bool__(self) -> bool:
        return bool(self.sounds)

    def cut(self, rng: np.random.Generator, samples: int) -> np.ndarray:
        """A random piece [samples] of a random recording, float32; a short recording is repeated."""
        sound = self.sounds[rng.integers(len(self.sounds))]
        if len(sound) < samples:
            sound = np.tile(sound, -(-samples // len(sound)))
        start = rng.integers(len(sound) - samples + 1)
        return sound[start : start + samples].astype(np.float32) / 32768.0


class TrainingData(Dataset):
    """Item i is the i-th batch of the epoch: audio float32 [batch, samples], labels int64 [batch].

    Parameters
    ----------
    config : Config
    labels : sequence of str
    progress : function(done, total), called while files are read
    """

    def __init__(self, config: Config, labels: Sequence[str], progress: Progress = lambda done, total: None) -> None:
        self.config, self.labels, self.epoch = config, tuple(labels), 0
        folder = Path(config.data.folder)
        clips = corpus.word_clips(folder, labels, "training")
        silent = set(labels) - {clip.label for clip in clips} - {corpus.UNKNOWN, corpus.SILENCE}
        if silent:
            raise ConfigError(f"data.task: {folder} has no training clips of {', '.join(sorted(silent))}")
        for other in config.data.unknown_folders if corpus.UNKNOWN in labels else ():
            root = Path(other)
            paths = corpus.of_training(audio.sound_files(root))
            clips += [corpus.Clip(p, f"{root.name}/{p.parent.name}", corpus.UNKNOWN) for p in paths]
        self.clips = np.stack(read_all([c.path for c in clips], loudest_second, progress))
        self.by_word: dict[str, list[int]] = defaultdict(list)
        self.label_of: dict[str, str] = {}
        for i, clip in enumerate(clips):
            self.by_word[clip.word].append(i)
            self.label_of[clip.word] = clip.label
        whole = lambda sound: sound  # noqa: E731
        background = [
            sound[: int(len(sound) * corpus.VALIDATION_NOISE_FROM)]
            for sound in read_all(corpus.noise_recordings(folder), whole, progress)
        ]
        self.background = Recordings(background)
        self.noise = Recordings(read_all(self._recordings(config.data.noise_folders), whole, progress))
        self.speech = Recordings(read_all(self._recordings(config.data.speech_folders), whole, progress))
        self.augment = Augment(config.augment)
        self.clips_per_batch = config.train.batch_size // (2 if config.augment.twins else 1)
        self.block_length = HOPS_PER_BLOCK * config.front_end.hop_length
        words = [w for w in self.by_word if self.label_of[w] not in (corpus.UNKNOWN, corpus.SILENCE)]
        self.clips_per_word = round(np.mean([len(self.by_word[w]) for w in words]))
        self.set_epoch(0)

    @staticmethod
    def _recordings(folders: Sequence[str]) -> list[Path]:
        return [p for folder in folders for p in corpus.of_training(audio.sound_files(Path(folder)))]

    def set_epoch(self, epoch: int) -> None:
        """Draw the epoch's order: every word equally often, so a word with few clips isn't neglected."""
        self.epoch = epoch
        rng = np.random.default_rng((self.config.train.seed, epoch))
        order: list[tuple[int, int]] = []  # clip (-1: cut of speech, -2: noise), label
        label = {name: i for i, name in enumerate(self.labels)}
        others = [w for w in self.by_word if self.label_of[w] == corpus.UNKNOWN]
        for word, clips in self.by_word.items():
            if word not in others:
                rounds = [rng.permutation(clips) for _ in range(-(-self.clips_per_word // len(clips)))]
                chosen = np.concatenate(rounds)[: self.clips_per_word]
                order += [(int(i), label[self.label_of[word]]) for i in chosen]
        if corpus.UNKNOWN in label:
            count = round(self.clips_per_word * self.config.data.unknown_share)
            cuts = round(count * self.config.data.speech_share) if self.speech else 0
            order += [(-1, label[corpus.UNKNOWN])] * cuts
            # Rare words count for more than their share: what matters is how many kinds of words are known as unknown.
            weights = np.sqrt([len(self.by_word[w]) for w in others])
            for word in rng.choice(others, count - cuts, p=weights / weights.sum()) if others else ():
                order.append((int(rng.choice(self.by_word[word])), label[corpus.UNKNOWN]))
        if corpus.SILENCE in label and self.background:
            order += [(-2, label[corpus.SILENCE])] * round(self.clips_per_word * self.config.data.silence_share)
        self.order = [order[i] for i in rng.permutation(len(order))]

    def __len__(self) -> int:
        return len(self.order) // self.clips_per_batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        size = self.clips_per_batch
        rng = np.random.default_rng((self.config.train.seed, self.epoch, index))
        chosen = self.order[index * size : (index + 1) * size]
        tail = int(self.config.tail_seconds * SAMPLE_RATE)
        length = CLIP_SAMPLES + tail
        if rng.random() < self.config.augment.long_batch_probability:
            length += int(rng.uniform(0, SAMPLE_RATE)) // self.block_length * self.block_length
        sounds = torch.zeros(size, CLIP_SAMPLES)
        for row, (clip, _) in enumerate(chosen):
            if clip >= 0:
                sounds[row] = torch.from_numpy(self.clips[clip].astype(np.float32) / 32768.0)
            elif clip == -1:
                sounds[row] = torch.from_numpy(self.speech.cut(rng, CLIP_SAMPLES))
        silent = np.array([clip == -2 for clip, _ in chosen])
        batch = self.augment(rng, sounds, silent, self._noise, length, tail)
        return batch, torch.tensor([label for _, label in chosen]).repeat(len(batch) // size)

    def _noise(self, rng: np.random.Generator, samples: int) -> np.ndarray | None:
        """Half of the noise is the data set's own background, half is from the other folders."""
        sources = [s for s in (self.background, self.noise) if s]
        return sources[rng.integers(len(sources))].cut(rng, samples) if sources else None

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


def evaluation_tensors(
    clips: Sequence[corpus.Clip], labels: Sequence[str], tail_seconds: float
) -> tuple[Tensor, Tensor]:
    """Clips of one second followed by the tail of digital silence [clips, samples], and their labels [clips]."""
    tail = int(tail_seconds * SAMPLE_RATE)
    with ThreadPoolExecutor() as pool:
        sounds = list(pool.map(lambda clip: loudest_second(_samples(clip.sound())), clips))
    audio_tensor = torch.from_numpy(np.stack([np.pad(s, (0, tail)) for s in sounds]))
    return audio_tensor, torch.tensor([labels.index(c.label) for c in clips])


def _samples(sound: Path | np.ndarray) -> np.ndarray:
    return audio.load(sound) if isinstance(sound, Path) else sound
