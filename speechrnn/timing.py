"""How long jobs take, in turns: machines are noisy, and the ratio of neighbours in time is less so."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from speechrnn.model import Model

ROUNDS, BLOCKS = 40, 50  # models and their references take turns: so many times, so many blocks at a time
CLIPS = 20  # the same for clips, one at a time


def block_times(models: "Sequence[Model]", steps: Sequence[Callable[[], object]] = ()) -> np.ndarray:
    """Seconds of each call [job, round, call], all in turns: each model's block of a stream, and its step after it."""
    jobs: list[Callable[[], object]] = []
    for i, model in enumerate(models):
        jobs.append(partial(model.stream().process, noise(model.card.block_length)[None]))
        jobs += [steps[i]] if steps else []
    return in_turns(jobs, ROUNDS, BLOCKS)


def clip_times(models: "Sequence[Model]") -> np.ndarray:
    """Seconds for a clip of 1 s and its tail [model, round], in turns."""
    clip = noise(models[0].card.sample_rate)
    return in_turns([partial(model.posteriors, clip) for model in models], CLIPS, 1)[:, :, 0]


def paired_ratio(times: np.ndarray, reference: np.ndarray) -> float:
    """Of two jobs that took turns, [round] or [round, call]: the median over the rounds of the ratio of their times."""
    middles = [np.median(job.reshape(len(job), -1), axis=1) for job in (times, reference)]
    return float(np.median(middles[0] / middles[1]))


def noise(samples: int) -> np.ndarray:
    """White noise at a tenth of full scale [samples], always the same."""
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


def seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def in_turns(jobs: Sequence[Callable[[], object]], rounds: int, calls: int) -> np.ndarray:
    """Seconds of each call [job, round, call]; the first round of each isn't counted."""
    times: list[list[list[float]]] = [[] for _ in jobs]
    for _ in range(rounds + 1):
        for job, done in zip(jobs, times, strict=True):
            done.append([seconds(job) for _ in range(calls)])
    return np.array(times)[:, 1:]


def median_times(jobs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median time of each job [seconds], one call in each turn."""
    return np.median(in_turns(jobs, rounds, 1), axis=(1, 2)).tolist()
