"""Sound without the word, for the weights and the thresholds of a head: the pack that comes with the package.

It holds sound of many kinds as Opus in Ogg, and for the shipped networks the moments of features over far more of it.
`python -m data_scripts.background_pack` makes it.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechrnn import audio
from speechrnn.enrolment.fitting import Accumulator, Moments, features
from speechrnn.enrolment.head import DELAYS
from speechrnn.enrolment.trunk import Run, Trunk
from speechrnn.errors import InputError

FILE = Path(__file__).parents[1] / "models" / "background.npz"
NOISE = "noise"
EVERY = 10  # blocks, for moments: neighbours say much the same
CORRELATION_STEPS = 32_767  # correlations are stored as 16-bit integers


@dataclass(frozen=True)
class Background:
    """Kinds of sound, coded, and moments by the fingerprint of the trunk that they were computed with."""

    sounds: dict[str, bytes]
    moments: dict[str, Moments] = field(default_factory=dict)
    attribution: str = ""

    def save(self, path: Path) -> None:
        arrays: dict[str, np.ndarray] = {"attribution": np.array(self.attribution)}
        for kind, content in self.sounds.items():
            arrays[f"sound_{kind}"] = np.frombuffer(content, np.uint8)
        for trunk, moments in self.moments.items():
            scale = np.sqrt(np.diag(moments.covariance))
            correlation = moments.covariance / scale / scale[:, None]
            lower = correlation[np.tril_indices(len(scale), -1)]
            arrays[f"mean_{trunk}"] = moments.mean.astype(np.float32)
            arrays[f"scale_{trunk}"] = scale.astype(np.float32)
            arrays[f"correlation_{trunk}"] = np.rint(lower * CORRELATION_STEPS).astype(np.int16)
        np.savez(path, **arrays)  # type: ignore[arg-type]


def load(path: Path = FILE) -> Background:
    """Read a pack.

    Raises
    ------
    InputError
        if it isn't there, or isn't one
    """
    try:
        with np.load(path, allow_pickle=False) as pack:
            arrays = dict(pack)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is no background pack ({error}): install speechrnn again") from None
    sounds = {k.removeprefix("sound_"): v.tobytes() for k, v in arrays.items() if k.startswith("sound_")}
    moments = {}
    for key, mean in arrays.items():
        if key.startswith("mean_"):
            trunk = key.removeprefix("mean_")
            scale, lower = arrays[f"scale_{trunk}"], arrays[f"correlation_{trunk}"]
            covariance = np.zeros((len(scale), len(scale)), np.float32)
            covariance[np.tril_indices(len(scale), -1)] = lower.astype(np.float32) / CORRELATION_STEPS
            covariance += covariance.T
            covariance[np.diag_indices(len(scale))] = 1.0
            moments[trunk] = Moments(mean, covariance * scale * scale[:, None])
    return Background(sounds, moments, str(arrays.get("attribution", "")))


def from_files(paths: list[str | os.PathLike[str]]) -> np.ndarray:
    """The user's own background, all of it one after the other, float32 [samples]."""
    from speechrnn.enrolment.takes import files

    return np.concatenate([audio.load(path) for path in files(paths)])


def moments_and_runs(trunk: Trunk, pack: Background) -> tuple[Moments, dict[str, Run], np.ndarray]:
    """Moments for this trunk, what it makes of each kind of sound that thresholds are taken from, and noise [samples].

    The noise, which takes are mixed with, is the kind of that name, or the first one.
    Where the pack has no moments of the trunk, each kind's first half gives them, and the second half is left.
    """
    known = pack.moments.get(trunk.fingerprint)
    sums = Accumulator()
    runs = {}
    noise = np.zeros(0, np.float32)
    for kind, content in pack.sounds.items():
        sound = audio.load(content)
        run = trunk.stream(sound)
        if kind == NOISE or not len(noise):
            noise = sound
        if known is None:
            half = len(run.states) // 2
            sums.add(features(run.states[:half], np.arange(0, half, EVERY), DELAYS))
            run = Run(run.states[half:], run.posteriors[half:])
        runs[kind] = run
    return known or sums.moments(), runs, noise
