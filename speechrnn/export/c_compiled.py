"""The C program, compiled into a library and called from Python: compared with the ONNX file, and timed."""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechrnn.card import Card
from speechrnn.errors import ModelError
from speechrnn.evaluation.corpus import Clip
from speechrnn.export.c_source import Program
from speechrnn.inference import session
from speechrnn.model import Model
from speechrnn.timing import seconds

FLAGS = ("-std=c99", "-O3")
SECONDS = (0.02, 3.0)  # shortest and longest sound of the comparison
CLIPS = 500  # real ones at most, spread over all labels
ROUNDS, BLOCKS = 40, 50  # of the timing: both take turns so many times, so many blocks at a time


class Compiled:
    """A C program and the state of one sound; `reset` starts another.

    Raises
    ------
    ModelError
        if the compiler says no
    """

    def __init__(self, made: Program, card: Card, compiler: list[str], flags: tuple[str, ...] = FLAGS) -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            made.write(Path(folder))
            library = f"{folder}/speechrnn.so"
            command = [*compiler, *flags, "-shared", "-fPIC", "-o", library, f"{folder}/speechrnn.c", "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.splitlines() or ["no reason given"])[0]
                raise ModelError(f"{shlex.join(compiler)} can't compile the C program ({reason}): nothing is written")
            self.library = ctypes.CDLL(library)  # stays when the file goes
        self.state = ctypes.create_string_buffer(made.state_bytes)
        self._block, self._labels = card.block_length, len(card.labels)
        self.reset()

    def reset(self) -> None:
        """Set the state to that of a new sound."""
        self.library.speechrnn_init(self.state)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Probabilities [blocks, labels] of the next samples [blocks * block_length], float32 or int16."""
        block, labels = self._block, self._labels
        samples = np.ascontiguousarray(samples)
        whole = samples.dtype == np.int16
        process = self.library.speechrnn_process_int16 if whole else self.library.speechrnn_process
        probabilities = np.empty((len(samples) // block, labels), np.float32)
        source, target = samples.ctypes.data, probabilities.ctypes.data
        for i in range(len(probabilities)):
            process(
                self.state,
                ctypes.c_void_p(source + i * block * samples.itemsize),
                ctypes.c_void_p(target + i * labels * probabilities.itemsize),
            )
        return probabilities


def compiler() -> list[str] | None:
    """The C compiler that $CC names, or cc, gcc or clang; None if there is none."""
    for words in (shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]):
        if words and shutil.which(words[0]):
            return words
    return None


def as_written(model: Model) -> Model:
    """The model in a session without graph optimisation."""
    model = Model(model.content, name=model.name)
    model.session = session(model.content, as_written=True)
    return model


def largest_difference(compiled: Compiled, model: Model, trials: int = 12, seed: int = 0) -> float:
    """The largest difference in probability between the C program and the ONNX file.

    Sound is noise and tones at random levels, with pauses of digital silence, 20 ms to 3 s, each from a fresh state.
    """
    rng = np.random.default_rng(seed)
    worst, block = 0.0, model.card.block_length
    for _ in range(trials):
        blocks = round(rng.uniform(*SECONDS) / model.card.block_seconds)
        tone = np.sin(np.arange(blocks * block) * rng.uniform(0.01, 3.0)) * 10.0 ** rng.uniform(-3.0, 0.0)
        noise = rng.standard_normal(blocks * block) * 10.0 ** rng.uniform(-5.0, -0.5)
        audible = np.repeat(rng.random((2, blocks)) < 0.7, block, axis=1)  # each comes and goes
        sound = (tone * audible[0] + noise * audible[1]).astype(np.float32)
        compiled.reset()
        difference = np.abs(compiled.process(sound) - model.stream().process(sound[None])[0]).max()
        worst = float(np.maximum(worst, difference))  # max() would lose NaN
    return worst


def agreement(compiled: Compiled, model: Model, clips: Sequence[Clip]) -> tuple[float, float]:
    """On real clips: the share of equal labels, and the largest difference in probability."""
    same, worst = [], 0.0
    for i in np.linspace(0, len(clips) - 1, min(CLIPS, len(clips))).astype(int):
        sound = model.load_clip(clips[i].sound())
        expected = model.posteriors(sound)
        compiled.reset()
        found = compiled.process(np.pad(sound, (0, len(expected) * model.card.block_length - len(sound))))
        same.append(model.decide(found).label == model.decide(expected).label)
        worst = float(np.maximum(worst, np.abs(found - expected).max()))
    return float(np.mean(same)), worst


def block_seconds(compiled: Compiled, model: Model) -> tuple[float, float, float]:
    """Seconds that a block of noise takes in the C program and in onnxruntime, and their ratio; medians, on one thread.

    Both take turns, and the ratio is of neighbours in time: a machine that is busy meanwhile slows both.
    """
    rng = np.random.default_rng(0)
    blocks = (0.1 * rng.standard_normal((BLOCKS, model.card.block_length))).astype(np.float32)
    stream = model.stream()
    jobs = [
        lambda: [compiled.process(block) for block in blocks],
        lambda: [stream.process(block[None]) for block in blocks],
    ]
    rounds = np.array([[seconds(job) for job in jobs] for _ in range(ROUNDS + 1)][1:]) / BLOCKS
    ours, theirs = np.median(rounds, axis=0)
    return float(ours), float(theirs), float(np.median(rounds[:, 0] / rounds[:, 1]))
