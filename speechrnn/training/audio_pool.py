"""Audio of one partition in memory, as 16-bit samples: clips of words, background noise, running speech."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from speechrnn import audio, folders, text_files
from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError, InputError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.endpoints import loudest, takes
from speechrnn.training.config import DataConfig
from speechrnn.training.pseudo_words import fragment, noise_floor, spliced
from speechrnn.training.synthetic_noise import synthetic_noise

CLIP_SAMPLES = int(corpus.CLIP_SECONDS * SAMPLE_RATE)
ROUNDING = SAMPLE_RATE // 100  # samples that resampling and codecs add to a clip of a second
MADE_NOISE_SECONDS = 10.0
FLOOR_SHARE = 0.75  # of the pseudo-words have the noise floor of a recording; the others digital silence
Progress = Callable[[int, int], None]  # done, of how many


def loudest_second(sound: np.ndarray) -> np.ndarray:
    """The second with the most energy of a longer sound; a shorter one is padded with zeros. [CLIP_SAMPLES]"""
    if len(sound) <= CLIP_SAMPLES:
        return np.pad(sound, (0, CLIP_SAMPLES - len(sound)))
    return loudest(sound, CLIP_SAMPLES)


def to_int16(sound: np.ndarray) -> np.ndarray:
    """Samples from -1 to 1, rounded and clipped to 16 bits."""
    return np.clip(np.round(sound * 32768.0), -32768, 32767).astype(np.int16)


class LongClips:
    """Notes of which clips only a second is used, with their length and apparent number of takes."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, int]] = {}

    def second_of(self, clip: audio.Source) -> np.ndarray:
        """The loudest second of a clip [CLIP_SAMPLES]; a longer clip is noted."""
        sound = audio.load(clip)
        if len(sound) > CLIP_SAMPLES + ROUNDING:
            self._found[audio.source_name(clip)] = len(sound) / SAMPLE_RATE, takes(sound)
        return loudest_second(sound)

    def warn(self, use: str) -> None:
        """Log how many clips are cut to a second, with an example; `use` is "trained on" or "validated on"."""
        if not self._found:
            return
        several = {name: many for name, (_, many) in self._found.items() if many > 1}
        name = min(set(self._found) - set(several) or self._found)
        lines = [
            f"clips longer than a second: {len(self._found)}, such as {name} ({self._found[name][0]:.1f} s): "
            f"only the loudest second of each is {use}"
        ]
        if several:
            name = min(several)
            lines.append(
                f"clips of several takes: {len(several)}, such as {name} (about {several[name]} in "
                f"{self._found[name][0]:.1f} s): only one of each is {use}: cut each take into a file of its own"
            )
        folders.warn(lines)


def read_all(paths: Sequence[Path], read: Callable[[Path], np.ndarray], progress: Progress) -> list[np.ndarray]:
    """Read files with `read` in threads: int16 [samples] of each."""
    sounds = []
    with ThreadPoolExecutor() as pool:
        for sound in pool.map(lambda path: to_int16(read(path)), paths):
            sounds.append(sound)
            progress(len(sounds), len(paths))
    return sounds


def listed(path: str) -> set[str]:
    """The lines of a text file; none where no file is named."""
    try:
        return set(text_files.read(Path(path), "give a list of clips, or none").splitlines()) if path else set()
    except InputError as error:
        raise ConfigError(f"data.exclude: {error}") from None


class Recordings:
    """Long recordings, int16, from which pieces are cut."""

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


class AudioPool:
    """All audio of a partition, "training" or "validation", in memory.

    `clips` int16 [clips, CLIP_SAMPLES]; `by_word` gives each word's rows in it, `label_of` its label. `others` are the
    words that are `_unknown_`, drawn in `other_probabilities`; `commands` are the rest.
    """

    def __init__(
        self, config: DataConfig, labels: Sequence[str], part: str, progress: Progress = lambda done, total: None
    ) -> None:
        self.config, self.part = config, part
        folder = Path(config.folder)
        self.excluded = listed(config.exclude) if part == "training" else set()
        clips = [clip for clip in corpus.word_clips(folder, labels, part) if self._wanted(clip.path, folder)]
        self.own_clips = len(clips)  # of the folder itself: the first ones
        own_words = {clip.word for clip in clips}
        silent = set(labels) - {clip.label for clip in clips} - {corpus.UNKNOWN, corpus.SILENCE}
        if silent:
            raise ConfigError(f"data.task: {folder} has no {part} clips of {', '.join(sorted(silent))}")
        for other in config.word_folders if part == "training" else ():
            clips += corpus.word_clips(Path(other), labels, None)
        for other in config.unknown_folders if corpus.UNKNOWN in labels else ():
            below = Path(other).parent
            clips += [corpus.Clip(p, str(p.parent.relative_to(below)), corpus.UNKNOWN) for p in self._files(other)]
        long_clips = LongClips()
        self.clips = np.stack(read_all([c.path for c in clips], long_clips.second_of, progress))
        long_clips.warn("trained on" if part == "training" else "validated on")
        self.by_word: dict[str, list[int]] = defaultdict(list)
        self.label_of: dict[str, str] = {}
        for i, clip in enumerate(clips):
            self.by_word[clip.word].append(i)
            self.label_of[clip.word] = clip.label
        self.commands = [word for word, label in self.label_of.items() if label != corpus.UNKNOWN]
        self.others = [word for word, label in self.label_of.items() if label == corpus.UNKNOWN]
        # Square root: rare words count for more than their share, as the variety of unknown words matters.
        weights = np.sqrt([len(self.by_word[word]) for word in self.others])
        weights *= [config.own_words_weight if word in own_words else 1.0 for word in self.others]
        self.other_probabilities = weights / weights.sum() if self.others else weights
        background = read_all(corpus.noise_recordings(folder), self._part_of, progress)
        self.background = Recordings([sound for sound in background if len(sound)])
        self.noise = Recordings(read_all(list(self._files(*config.noise_folders)), audio.load, progress))
        self.speech = Recordings(read_all(list(self._files(*config.speech_folders)), audio.load, progress))
        self.beds = Recordings(read_all(list(self._files(*config.bed_folders)), audio.load, progress))
        rng = np.random.default_rng(0 if part == "training" else 1)
        made = (to_int16(synthetic_noise(rng, MADE_NOISE_SECONDS)) for _ in range(config.made_noises))
        self.synthetic_noise = Recordings(list(made))

    def clip(self, row: int) -> np.ndarray:
        """float32 [CLIP_SAMPLES]"""
        return self.clips[row].astype(np.float32) / 32768.0

    def any_of(self, rng: np.random.Generator, word: str) -> np.ndarray:
        """A random clip of a word, float32 [CLIP_SAMPLES]."""
        return self.clip(int(rng.choice(self.by_word[word])))

    def other_word(self, rng: np.random.Generator) -> str:
        """A random word of `others`."""
        return str(rng.choice(self.others, p=self.other_probabilities))

    def pseudo_word(self, rng: np.random.Generator) -> np.ndarray:
        """A pseudo-word [CLIP_SAMPLES]: a fragment of running speech, or a command spliced with another word."""
        if self.speech and rng.random() < 0.5:
            origin = self.speech.cut(rng, 2 * CLIP_SAMPLES)
            made = fragment(rng, origin, CLIP_SAMPLES)
        else:
            origin = self.any_of(rng, str(rng.choice(self.commands)))
            other = self.any_of(rng, self.other_word(rng)) if self.others else origin[::-1]
            made = spliced(rng, origin, other)
        return made + noise_floor(rng, origin, CLIP_SAMPLES) if rng.random() < FLOOR_SHARE else made

    def _files(self, *folders: str) -> Iterator[Path]:
        chosen: Callable[[Iterable[Path]], Iterator[Path]]
        chosen = corpus.of_training if self.part == "training" else corpus.held_out
        for folder in map(Path, folders):
            yield from (path for path in chosen(audio.sound_files(folder)) if self._wanted(path, folder.parent))

    def _wanted(self, path: Path, below: Path) -> bool:
        return path.relative_to(below).as_posix() not in self.excluded

    def _part_of(self, path: Path) -> np.ndarray:
        """The part of a background recording for this partition: its end is for validation."""
        sound = audio.load(path)
        border = int(len(sound) * corpus.VALIDATION_NOISE_FROM)
        return sound[:border] if self.part == "training" else sound[border:]

    def draw_bed(self, rng: np.random.Generator, samples: int) -> np.ndarray | None:
        """Background talkers (babble) [samples]; None where there are no such recordings."""
        return self.beds.cut(rng, samples) if self.beds else None

    def draw_noise(self, rng: np.random.Generator, samples: int) -> np.ndarray | None:
        """Noise [samples], as often of the data set's background, of other folders, and synthetic; None without any."""
        sources = [s for s in (self.background, self.noise, self.synthetic_noise) if s]
        return sources[rng.integers(len(sources))].cut(rng, samples) if sources else None
