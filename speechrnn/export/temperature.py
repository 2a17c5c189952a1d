"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599): fit the temperature, and divide the output layer by it.

All logits are divided by the number with the least negative log-likelihood on labelled clips. The output layer is
linear, so its weight and bias are divided.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from speechrnn.errors import InputError, ModelError
from speechrnn.evaluation.calibration import Bin, expected_calibration_error, reliability, tempered
from speechrnn.evaluation.corpus import Clip
from speechrnn.evaluation.partition import speaker
from speechrnn.model import Model
from speechrnn.progress import with_progress

LOWEST, HIGHEST = 0.4, 2.5  # temperatures
TRIED = 11  # between them, evenly in their logarithm; then as many around the best of these
LEAST = 1e-12  # probability that a clip's own label counts as having at least: one wrong folder must not decide
OUTPUT = ("output_weight", "output_bias")


@dataclass(frozen=True)
class Judged:
    """The label that each clip is given: its probability, and whether it is right."""

    probabilities: tuple[float, ...]
    right: tuple[bool, ...]
    negative_log_likelihood: float  # of the right labels, the mean over clips

    @property
    def error(self) -> float:
        """Expected calibration error."""
        return expected_calibration_error(self.probabilities, self.right)

    @property
    def bins(self) -> list[Bin]:
        return reliability(self.probabilities, self.right)


@dataclass(frozen=True)
class Fit:
    """A temperature, and what it makes of clips by speakers that it was not fitted on."""

    temperature: float
    before: Judged
    after: Judged

    @property
    def helps(self) -> bool:
        return self.after.error < self.before.error


def infer(model: Model, clips: Sequence[Clip]) -> list[np.ndarray]:
    """Posteriors [blocks, labels] of each clip, on all cores; raises AudioError if one can't be used."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        posteriors = pool.map(lambda clip: model.posteriors(model.load_clip(clip.sound())), clips)
        return list(with_progress(posteriors, len(clips)))


def judge(model: Model, clips: Sequence[Clip], posteriors: Sequence[np.ndarray], temperature: float = 1.0) -> Judged:
    """Decide on the label of each clip by its posteriors, with all logits divided by `temperature`."""
    found = [model.decide(tempered(rows, temperature)) for rows in posteriors]
    likelihoods = [max(result.posterior[clip.label], LEAST) for clip, result in zip(clips, found, strict=True)]
    return Judged(
        tuple(result.probability for result in found),
        tuple(result.label == clip.label for clip, result in zip(clips, found, strict=True)),
        float(-np.log(likelihoods).mean()),
    )


def fit(model: Model, clips: Sequence[Clip], posteriors: Sequence[np.ndarray]) -> Fit:
    """The temperature of the least negative log-likelihood on the clips of every other speaker.

    Raises
    ------
    InputError
        if the clips are of one speaker
    """
    speakers = sorted({speaker(clip.path) for clip in clips})
    if len(speakers) < 2:
        raise InputError("a temperature needs clips of several speakers: one half to fit it, the other to judge it")
    chosen = set(speakers[::2])
    pairs = list(zip(clips, posteriors, strict=True))
    own = [pair for pair in pairs if speaker(pair[0].path) in chosen]
    others = [pair for pair in pairs if speaker(pair[0].path) not in chosen]

    def judged(half: list[tuple[Clip, np.ndarray]], temperature: float) -> Judged:
        return judge(model, [clip for clip, _ in half], [rows for _, rows in half], temperature)

    def best_of(lowest: float, highest: float) -> float:
        tried = np.geomspace(lowest, highest, TRIED).tolist()
        return min(tried, key=lambda temperature: judged(own, temperature).negative_log_likelihood)

    coarse, step = best_of(LOWEST, HIGHEST), (HIGHEST / LOWEST) ** (1.0 / (TRIED - 1))
    best = best_of(coarse / step, coarse * step)
    return Fit(round(best, 4), judged(others, 1.0), judged(others, best))


def output_layer(proto: onnx.ModelProto, source: str) -> list[onnx.TensorProto]:
    """Weight and bias in front of the softmax of a graph of ours; `source` is named in the error.

    Raises
    ------
    ModelError
        if they aren't stored as float32
    """
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    found = [tensors[name] for name in OUTPUT if name in tensors]
    if len(found) < len(OUTPUT) or any(tensor.data_type != onnx.TensorProto.FLOAT for tensor in found):
        raise ModelError(
            f"{source}: its output layer isn't float32: start from the float32 file, or --no-temperature and no --prior"
        )
    return found


def apply(proto: onnx.ModelProto, temperature: float, source: str) -> None:
    """Divide the logits of a graph of ours, in place; raises ModelError as `output_layer`."""
    for tensor in output_layer(proto, source):
        divided = (numpy_helper.to_array(tensor) / temperature).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(divided, tensor.name))
