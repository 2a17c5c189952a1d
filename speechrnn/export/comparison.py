"""Compare ONNX files of ours on the same sounds: labels, probabilities and accuracy."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechrnn import audio
from speechrnn.evaluation.corpus import UNKNOWN, Clip, evaluation_clips
from speechrnn.model import Model, Sound
from speechrnn.progress import with_progress

PACKAGE = Path(__file__).resolve().parents[1]
IN_WHEEL, IN_CHECKOUT = (folder / "examples" for folder in (PACKAGE, PACKAGE.parent))
EXAMPLES = IN_WHEEL if IN_WHEEL.is_dir() else IN_CHECKOUT
LEVELS = (1.0, 0.3, 0.1)  # of the examples: as they are, and quieter by 10 and 20 dB
NOISE_LEVELS = (0.0, 0.01, 0.1)  # standard deviations of the noise, amplitudes of the tones

Labelled = tuple[Clip | np.ndarray, str | None]  # a sound, and its label where that is known


@dataclass(frozen=True)
class Comparison:
    """How close a file is to its reference."""

    clips: int
    same: int  # clips with the same label
    largest_error: float  # between two probabilities of the same block and label
    accuracy: float | None  # share of the clips of known label that it gets right; None if there are none
    reference_accuracy: float | None

    @property
    def agreement(self) -> float:
        """Share of the clips that keep their label."""
        return self.same / self.clips

    def __str__(self) -> str:
        text = f"{self.same} of {self.clips} clips keep their label ({self.agreement:.2%}), "
        text += f"probabilities within {self.largest_error:.3g}"
        if self.accuracy is not None:
            text += f", accuracy {self.accuracy:.2%} (before {self.reference_accuracy:.2%})"
        return text


def labelled_sounds(model: Model, folder: Path | None = None, partition: str | None = None) -> list[Labelled]:
    """The clips of a folder as `speechrnn evaluate` takes them, or the examples at several levels, tones and noise."""
    if folder is not None:
        return [(clip, clip.label) for clip in evaluation_clips(folder, model.labels, partition)]
    sounds: list[Labelled] = []
    for path in audio.sound_files(EXAMPLES):
        label = path.stem if path.stem in model.labels else UNKNOWN
        sounds += [(np.float32(level) * audio.load(path), label) for level in LEVELS]
    rng = np.random.default_rng(0)
    seconds = np.arange(audio.SAMPLE_RATE) / audio.SAMPLE_RATE
    for level in NOISE_LEVELS:
        noise = level * rng.standard_normal(audio.SAMPLE_RATE)
        tone = level * np.sin(2 * np.pi * rng.uniform(100.0, 4000.0) * seconds)
        sounds += [(samples.astype(np.float32), None) for samples in (noise, tone)]
    return sounds


def compare(reference: Model, others: Sequence[Model], sounds: Sequence[Labelled]) -> list[Comparison]:
    """Compare the labels and probabilities of each of `others` with those of `reference`, on all cores.

    A probability that is not a number is an error of infinity, and no clip then counts as the same.

    Raises
    ------
    speechrnn.errors.AudioError
        if one of the sounds can't be used
    """

    def infer(labelled: Labelled) -> list[tuple[str, float]]:
        sound: Sound = labelled[0].sound() if isinstance(labelled[0], Clip) else labelled[0]
        samples = reference.load_clip(sound)
        rows = [model.posteriors(samples) for model in (reference, *others)]
        errors = [float(np.abs(row - rows[0]).max()) for row in rows]
        return [
            (reference.decide(row).label, error) if np.isfinite(error) else ("", np.inf)
            for row, error in zip(rows, errors, strict=True)
        ]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(with_progress(pool.map(infer, sounds), len(sounds)))
    references = [label for _, label in sounds]

    def accuracy(labels: Sequence[str]) -> float | None:
        known = [a == b for a, b in zip(labels, references, strict=True) if b is not None]
        return sum(known) / len(known) if known else None

    [expected, *columns] = ([clip[i] for clip in found] for i in range(1 + len(others)))
    labels = [label for label, _ in expected]
    made = []
    for column in columns:
        own = [label for label, _ in column]
        same = sum(a == b != "" for a, b in zip(own, labels, strict=True))
        largest = max(error for _, error in column)
        made.append(Comparison(len(sounds), same, largest, accuracy(own), accuracy(labels)))
    return made
