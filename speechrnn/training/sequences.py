"""Training sequences for streams: several seconds of words among silence, noise and speech, with a target per block.

A command is an isolated word: inside running speech the same word is none. So the network may wait to see whether
speech goes on; from 0.25 s after the end of the word (by energy) its label is the target.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from speechrnn.audio import SAMPLE_RATE
from speechrnn.evaluation import corpus
from speechrnn.evaluation.endpoints import word_endpoints
from speechrnn.level import db_to_amplitude
from speechrnn.training.audio_pool import CLIP_SAMPLES, AudioPool
from speechrnn.training.augment import Augment, loudest_tenth
from speechrnn.training.config import StreamConfig
from speechrnn.training.losses import not_yet

WAIT_SECONDS, SPEAK_SECONDS, FADE_SECONDS = 0.25, 0.2, 0.1  # after a word: its label or silence; its label; either
LONGEST_JOINT_SECONDS = 0.08  # between joined words
JOINED_WORDS = (3, 8)
BED_GAIN_DB = -25.0, 10.0  # of babble without words


class Sequences:
    """Composes sequences; `labels` must have `_unknown_` and `_silence_`."""

    def __init__(
        self, config: StreamConfig, pool: AudioPool, labels: Sequence[str], augment: Augment, block_length: int
    ) -> None:
        self.config, self.pool, self.augment, self.block_length = config, pool, augment, block_length
        self.labels, self.label = labels, {name: i for i, name in enumerate(labels)}
        self.neither = len(labels)  # target of a block that must name no word: `_unknown_` or `_silence_`
        self.blocks = int(config.seconds * SAMPLE_RATE) // block_length
        self.last = self.blocks * block_length - CLIP_SAMPLES - int((WAIT_SECONDS + SPEAK_SECONDS) * SAMPLE_RATE)
        self.most_words = 1 + self.last // (CLIP_SAMPLES + int(config.gap_low_seconds * SAMPLE_RATE))

    def batch(self, rng: np.random.Generator, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Audio [rows, samples]; targets [rows, blocks]: a label, `neither`, or `not_yet`; words [words, 3].

        A word is its row, the first block of its clip, and its label.
        """
        c = self.config
        words: list[tuple[int, int, int]] = []
        kinds = rng.choice(4, rows, p=[c.speech_share, c.joined_share, c.noise_share, self._words_share()])
        canvas = np.zeros((rows, self.blocks * self.block_length), np.float32)
        targets = np.full((rows, self.blocks), self.label[corpus.SILENCE])
        clips = iter(self._clips(rng, (kinds == 1).sum() * JOINED_WORDS[1] + (kinds == 3).sum() * self.most_words))
        for row, kind in enumerate(kinds):
            if kind == 0 and self.pool.speech:
                self._speech(rng, canvas[row])
                targets[row] = self.neither
            elif kind == 1:
                self._joined(rng, canvas[row], clips)
                targets[row] = self.neither
            elif kind == 3:
                words += [(row, *word) for word in self._words(rng, canvas[row], targets[row], clips)]
        speech = np.flatnonzero(kinds == 0)  # of which there are few hours
        canvas[speech] = self.augment.change_speed(rng, torch.from_numpy(canvas[speech])).numpy()
        mixed = self.augment.rooms_and_lines(rng, torch.from_numpy(canvas))
        words = self._beds(rng, canvas, mixed, targets, kinds, words)
        for row in range(rows):
            spoken = canvas[row][canvas[row] != 0.0]
            if not len(spoken):
                self.augment.noise_alone(rng, mixed[row], self.pool.draw_noise)
            elif rng.random() < self.augment.config.noise_probability:
                self.augment.add_noise(rng, mixed[row], torch.from_numpy(spoken), self.pool.draw_noise)
        found = torch.tensor(words, dtype=torch.int64).reshape(-1, 3)
        mixed = self.augment.suppress_noise(rng, mixed, self.pool.draw_noise)
        return self.augment.record(rng, mixed), torch.from_numpy(targets), found

    def _beds(
        self,
        rng: np.random.Generator,
        canvas: np.ndarray,
        mixed: Tensor,
        targets: np.ndarray,
        kinds: np.ndarray,
        words: list[tuple[int, int, int]],
    ) -> list[tuple[int, int, int]]:
        """Babble behind some rows of words, at an SNR to the quietest command; returns the words that keep their label.

        Between the words such a row may be `_silence_` or `_unknown_`, so pauses and noise bursts lose their label.
        """
        probability, silence = self.augment.config.bed_probability, self.label[corpus.SILENCE]
        rows = np.flatnonzero(kinds == 3) if probability else ()
        for row in [row for row in rows if rng.random() < probability]:
            placed = [(block * self.block_length, label) for where, block, label in words if where == row]
            spoken = [(start, label) for start, label in placed if label != silence]
            if not spoken:
                continue
            commands = [start for start, label in spoken if label != self.label[corpus.UNKNOWN]]
            starts = commands or [start for start, _ in spoken]
            loudest = min(loudest_tenth(canvas[row, start : start + CLIP_SAMPLES]) for start in starts)
            self.augment.add_bed(rng, mixed[row], loudest, self.pool.draw_bed)
            targets[row][targets[row] == silence] = self.neither
            words = [word for word in words if word[0] != row or word[2] != silence]
        return words

    def _words_share(self) -> float:
        return max(0.0, 1.0 - self.config.speech_share - self.config.joined_share - self.config.noise_share)

    def _clips(self, rng: np.random.Generator, count: int) -> list[tuple[str, np.ndarray, float, float]]:
        """Label, sound at some speed, start and end of the word in seconds."""
        labels, sounds, made_share = [], [], self.pool.config.made_words_share
        for _ in range(count):
            if self.config.burst_share and rng.random() < self.config.burst_share:
                noise = self.pool.draw_noise(rng, CLIP_SAMPLES)
                if noise is not None:
                    labels.append(corpus.SILENCE)
                    sounds.append(noise * np.float32(db_to_amplitude(rng.uniform(-30.0, 0.0))))
                    continue
            other = bool(self.pool.others) and rng.random() >= self.config.command_share
            if other and rng.random() < made_share:
                labels.append(corpus.UNKNOWN)
                sounds.append(self.pool.pseudo_word(rng))
            else:
                word = self.pool.other_word(rng) if other else str(rng.choice(self.pool.commands))
                labels.append(self.pool.label_of[word])
                sounds.append(self.pool.any_of(rng, word))
        if not sounds:
            return []
        stacked = self.augment.gate(rng, torch.from_numpy(np.stack(sounds)))
        changed = self.augment.change_speed(rng, stacked).numpy()
        return [(label, sound, *word_endpoints(sound)) for label, sound in zip(labels, changed, strict=True)]

    def _speech(self, rng: np.random.Generator, canvas: np.ndarray) -> None:
        """Running speech, or babble; in half of the rows speech starts or stops somewhere."""
        start, end = 0, len(canvas)
        share = self.pool.config.bed_share
        if share and rng.random() < share:
            canvas[:] = self.pool.beds.cut(rng, len(canvas)) * np.float32(db_to_amplitude(rng.uniform(*BED_GAIN_DB)))
            return
        if rng.random() < 0.5:
            cut = int(rng.integers(len(canvas)))
            start, end = (cut, end) if rng.random() < 0.5 else (start, cut)
        while start < end:
            sound = self.pool.speech.sounds[rng.integers(len(self.pool.speech.sounds))]
            first = int(rng.integers(len(sound))) if rng.random() < 0.5 else 0
            piece = sound[first : first + end - start].astype(np.float32) / 32768.0
            canvas[start : start + len(piece)] = piece * db_to_amplitude(rng.uniform(-10.0, 5.0))
            start += len(piece) + int(rng.uniform(0.05, 1.0) * SAMPLE_RATE)

    def _joined(self, rng: np.random.Generator, canvas: np.ndarray, clips) -> None:
        position = int(rng.uniform(0.0, 2.0) * SAMPLE_RATE)
        for _ in range(rng.integers(*JOINED_WORDS)):
            _, sound, start, end = next(clips)
            piece = sound[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
            piece = piece[: max(0, len(canvas) - position)]
            canvas[position : position + len(piece)] = piece
            position += len(piece) + int(rng.uniform(0.0, LONGEST_JOINT_SECONDS) * SAMPLE_RATE)

    def _words(
        self, rng: np.random.Generator, canvas: np.ndarray, targets: np.ndarray, clips
    ) -> Iterator[tuple[int, int]]:
        """Fills a row and its targets; the first block and the label of each word."""
        c = self.config
        position = int(rng.uniform(0.0, c.gap_high_seconds) * SAMPLE_RATE)
        gap_high = c.gap_high_seconds if rng.random() < 0.8 else c.seconds
        while position <= self.last:
            name, sound, start, end = next(clips)
            canvas[position : position + CLIP_SAMPLES] += sound
            label = self.label[name]
            yield position // self.block_length, label
            if name != corpus.SILENCE:
                self._set_targets(targets, position / SAMPLE_RATE + start, position / SAMPLE_RATE + end, label)
            position += CLIP_SAMPLES + int(rng.uniform(c.gap_low_seconds, gap_high) * SAMPLE_RATE)

    def _set_targets(self, targets: np.ndarray, start: float, end: float, label: int) -> None:
        """Targets of a word from `start` to `end`, in seconds of the row."""
        during = self.neither if label == self.label[corpus.UNKNOWN] else not_yet(label, self.labels)
        spoken = end + WAIT_SECONDS
        self._mark(targets, start, spoken, during)
        self._mark(targets, spoken, spoken + SPEAK_SECONDS, label)
        self._mark(targets, spoken + SPEAK_SECONDS, spoken + SPEAK_SECONDS + FADE_SECONDS, during)

    def _mark(self, targets: np.ndarray, start: float, end: float, target: int) -> None:
        per_second = SAMPLE_RATE / self.block_length
        targets[round(start * per_second) : round(end * per_second)] = target
