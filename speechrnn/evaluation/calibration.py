"""Calibration: how well the probabilities of labels agree with the share of them that is right.

Of the clips that are labelled with a probability of 0.9, nine in ten should be right. Guo et al. 2017, On Calibration
of Modern Neural Networks (arXiv:1706.04599), is the source of the measure and of the remedy: one temperature, by which
all logits are divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechrnn.errors import InputError

BINS = 15  # as in the paper
ROUNDING = 1e-5  # by so much a softmax in single precision can be above 1


@dataclass(frozen=True)
class Bin:
    """The clips whose probability lies in one of the equal stretches from 0 to 1."""

    count: int
    confidence: float  # their mean probability
    accuracy: float  # the share of them that is right


def reliability(probabilities: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """The bins that have clips in them, from the least probable on.

    Parameters
    ----------
    probabilities : numbers from 0 to 1 [clips]
        of the label that each clip was given
    right : booleans [clips]
        whether that label was the right one
    bins : number > 0
        how many stretches (i / bins, (i + 1) / bins] the probabilities are sorted into; 0 goes into the first

    Raises
    ------
    InputError
        if there are no clips, not as many of both, or a probability is outside of 0 to 1
    """
    values, hits = np.asarray(probabilities, np.float64), np.asarray(right, bool)
    if not len(values) or len(values) != len(hits) or not ((values >= 0.0) & (values <= 1.0 + ROUNDING)).all():
        raise InputError("calibration needs clips, each with a probability from 0 to 1 and whether it is right")
    which = np.clip(np.ceil(values * bins).astype(int), 1, bins)
    return [
        Bin(int(there.sum()), float(values[there].mean()), float(hits[there].mean()))
        for there in (which == number for number in np.unique(which))
    ]


def expected_calibration_error(probabilities: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """How far accuracy is from confidence, the mean over all clips: sum over bins of n_b / n * |acc_b - conf_b|.

    Equation 3 of Guo et al. 2017; the parameters are those of `reliability`.

    Examples
    --------
    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, False, False])
    0.25
    """
    found = reliability(probabilities, right, bins)
    clips = sum(b.count for b in found)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in found) / clips


def tempered(posteriors: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of logits that are divided by a temperature (Guo et al. 2017, section 4.2).

    The logarithm of a softmax is its logits but for a constant, and the constant cancels.

    Parameters
    ----------
    posteriors : array [..., labels]
        the softmax of the logits themselves
    temperature : number > 0

    Returns
    -------
    np.ndarray [shape=(..., labels), dtype=float64]
    """
    logits = np.log(np.maximum(posteriors, np.finfo(np.float32).tiny), dtype=np.float64) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
