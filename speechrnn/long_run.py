"""Hours of sound through one Spotter that is never reset: is a word found in each of them, does the memory stay?

`listen` runs in a process of its own, started by `python -m speechrnn.long_run`, so that its peak memory is its alone.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import InputError

if TYPE_CHECKING:
    from speechrnn.model import Model
    from speechrnn.spotter import Spotter

HOUR = 3600.0  # seconds
QUIET = 60.0  # seconds at the end of each hour, the same every time, with the clip in their middle
NOISE, QUIET_NOISE = 0.1, 1e-3  # standard deviations


@dataclass(frozen=True)
class Hour:
    """What came of the clip in an hour."""

    hour: int  # the first is 1
    found: bool
    probability: float  # the highest posterior of its word
    difference: float  # the largest, of the posteriors from the clip on from those in the first hour
    peak_memory_MB: float | None  # of the process, by then


@dataclass(frozen=True)
class LongRun:
    """Peak memory [MB] after the first minute and at the end (None where the system doesn't tell), and each hour."""

    minute_MB: float | None
    end_MB: float | None
    hours: tuple[Hour, ...]

    @property
    def memory_ratio(self) -> float | None:
        return self.end_MB / self.minute_MB if self.minute_MB and self.end_MB else None


def run(
    path: Path,
    seconds: float,
    clip: Path | None = None,
    hour: float = HOUR,
    advance: Callable[[float], None] = lambda seconds: None,
) -> LongRun:
    """Process so many seconds, with the clip once in every whole hour, in a process of its own.

    `advance` is called with the seconds that were processed since its last call.
    """
    command = [sys.executable, "-m", "speechrnn.long_run", *map(str, (path, seconds, hour, clip or ""))]
    memory: list[float | None] = []
    hours = []
    # Ctrl-C is for this process, which ends the other one without a word of it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                record = json.loads(line)
                if "hour" in record:
                    hours.append(Hour(**record))
                else:
                    memory.append(record["peak_memory_MB"])
                    advance(record["seconds"])
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise InputError(f"{path}: the long run ended early, with exit code {process.returncode}: run it again")
    return LongRun(memory[0], memory[-1], tuple(hours))


def word_of(model: "Model", clip: Path) -> str:
    """The word that the model recognises in a clip.

    Raises
    ------
    InputError
        if it recognises none, or the clip can't be read
    """
    label = model.classify(clip).label
    if label not in model.card.words:
        words = ", ".join(model.card.words)
        raise InputError(f"{clip}: the model labels it {label}: give a clip of one of its words ({words})")
    return label


def listen(path: Path, seconds: float, hour: float, clip: Path | None) -> Iterator[dict]:
    """What `run` does, here: yields {seconds, peak_memory_MB} after every minute, and the fields of each `Hour`."""
    from speechrnn import audio
    from speechrnn.model import Model
    from speechrnn.spotter import Spotter

    model = Model(path)
    spotter = Spotter(model)
    word = word_of(model, clip) if clip else ""
    rng = np.random.default_rng(0)
    total, done = round(seconds * SAMPLE_RATE), 0
    if clip:
        block = model.card.block_length
        every = round(hour * SAMPLE_RATE) // block * block  # whole blocks: the clip lies at the same place in them
        quiet = quiet_minute(audio.load(clip), round(min(QUIET, hour) * SAMPLE_RATE) // block * block)
        pieces = np.split(quiet, range(SAMPLE_RATE, len(quiet), SAMPLE_RATE))
        since = len(quiet) // 2 // block - 1  # blocks; by then the network has forgotten the noise
        first: np.ndarray | None = None
        for number in range(1, total // every + 1):
            yield from _noise(spotter, rng, every - len(quiet))
            rows = [spotter.posteriors(piece) for piece in pieces]
            labels = {detection.label for posteriors in rows for detection in spotter.decide(posteriors)}
            posteriors = np.concatenate(rows)[since:]
            first = posteriors if first is None else first
            probability = float(posteriors[:, model.labels.index(word)].max())
            difference = float(np.abs(posteriors - first).max())
            done += every
            yield {"seconds": len(quiet) / SAMPLE_RATE, "peak_memory_MB": peak_memory()}
            yield asdict(Hour(number, word in labels, probability, difference, peak_memory()))
    yield from _noise(spotter, rng, total - done)


def quiet_minute(clip: np.ndarray, length: int) -> np.ndarray:
    """A little noise [length], always the same, with the clip in its middle."""
    sound = QUIET_NOISE * np.random.default_rng(1).standard_normal(max(length, len(clip)), dtype=np.float32)
    start = (len(sound) - len(clip)) // 2
    sound[start : start + len(clip)] += clip
    return sound


def _noise(spotter: "Spotter", rng: np.random.Generator, samples: int) -> Iterator[dict]:
    """Process so much noise, a second at a time."""
    for left in range(samples, 0, -60 * SAMPLE_RATE):
        minute = min(left, 60 * SAMPLE_RATE)
        for start in range(0, minute, SAMPLE_RATE):
            spotter.process(NOISE * rng.standard_normal(min(SAMPLE_RATE, minute - start), dtype=np.float32))
        yield {"seconds": minute / SAMPLE_RATE, "peak_memory_MB": peak_memory()}


def peak_memory() -> float | None:
    """Of this process, in MB; None on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)  # bytes, KB


if __name__ == "__main__":
    path, seconds, hour, clip = sys.argv[1:]
    for record in listen(Path(path), float(seconds), float(hour), Path(clip) if clip else None):
        print(json.dumps(record), flush=True)
