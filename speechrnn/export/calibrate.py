"""Calibrate an ONNX file of ours: class priors, a temperature, and a threshold for each word.

First the priors, if asked: most of what a microphone records is silence. Then a temperature, fitted on validation
clips, goes into the output layer, if it lowers the expected calibration error on speakers that it was not fitted on.
Then a threshold for each word, so that in the clean validation stream and in held-out speech and noise together there
are no more false accepts per hour than wanted, and as few misses as this allows. All goes into the file, with the
figures found.

The stream of words counts among the sound without commands, for the other words and the noise in it: held-out speech
and noise alone would let thresholds fall until every word that rhymes with a command is one.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from speechrnn.card import file_content
from speechrnn.errors import ModelError
from speechrnn.evaluation.calibration import tempered
from speechrnn.evaluation.corpus import Clip, evaluation_clips
from speechrnn.evaluation.recordings import Recording
from speechrnn.evaluation.scoring import Score
from speechrnn.evaluation.validate import PARTITION, cache_all, held_out_recordings, word_stream
from speechrnn.export import prior, temperature, thresholds
from speechrnn.export.temperature import Fit
from speechrnn.export.thresholds import Choice
from speechrnn.model import Model
from speechrnn.spotter import Spotter

TOLERANCE = 1e-5  # between the probabilities of the new graph and the old ones with the temperature
COMPARED = 100  # clips


def with_temperature(model: Model, proto: onnx.ModelProto, clips: Sequence[Clip]) -> tuple[Fit, float]:
    """Fit a temperature and put it into `proto`, the graph of the model, if it helps; and the accuracy on all clips.

    Raises
    ------
    InputError
        if a clip or the model can't be used, or the probabilities of the new graph differ from those of the fit
    """
    posteriors = temperature.infer(model, clips)
    found = temperature.fit(model, clips, posteriors)
    chosen = found.temperature if found.helps else 1.0
    accuracy = float(np.mean(temperature.judge(model, clips, posteriors, chosen).right))
    if not found.helps:
        return found, accuracy
    temperature.apply(proto, found.temperature, model.name)
    tempered_model = _loaded(proto, model.name)
    for i in np.unique(np.linspace(0, len(clips) - 1, COMPARED).astype(int)):
        made = tempered_model.posteriors(model.load_clip(clips[i].sound()))
        difference = float(np.abs(made - tempered(posteriors[i], found.temperature)).max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{model.name}: with the temperature, probabilities are off by {difference:.1e}: nothing is written"
            )
    return found, accuracy


def _loaded(proto: onnx.ModelProto, name: str) -> Model:
    """The graph as a model; `name` is what errors call it."""
    try:
        return Model(proto.SerializeToString(), name=name)
    except ModelError:  # it speaks of bytes that nobody knows
        raise ModelError(f"{name}: once changed it gives no probabilities: nothing is written") from None


def with_thresholds(
    model: Model, commands: Path, others: Sequence[Recording], target: float, threshold: float | None, lowest: float
) -> Choice:
    """The thresholds for a wanted rate of false accepts, or the given one; the streams run through the network once."""
    spotter = Spotter(model)
    with tempfile.TemporaryDirectory() as folder:
        streams = cache_all(spotter, [word_stream(commands, model.labels, Path(folder))])
    cached = [*streams, *cache_all(spotter, others)]
    if threshold is not None:
        return thresholds.same(model.card, cached, threshold)
    return thresholds.choose(model.card, cached, target, lowest)


def _calibration(found: Fit) -> dict[str, Any]:
    return {
        "temperature": found.temperature if found.helps else 1.0,
        "expected_calibration_error": round(found.after.error if found.helps else found.before.error, 5),
        "expected_calibration_error_before": round(found.before.error, 5),
        "clips": len(found.before.right),
    }


def _decision(choice: Choice, target: float | None) -> dict[str, Any]:
    def figures(score: Score) -> dict[str, Any]:
        shares = {"missed_share": score.miss_rate, "false_accepts_per_hour": score.false_accepts_per_hour}
        rounded = {key: None if value is None else round(value, 5) for key, value in shares.items()}
        return rounded | {"wrong": score.substitutions}

    crossed = {} if choice.crossed is None else {"chosen_on_one_half_counted_on_the_other": figures(choice.crossed)}
    hours = {"hours": round(choice.score.hours, 3), "words": choice.score.words}
    wanted = {} if target is None else {"target_false_accepts_per_hour": target}
    return {**wanted, **hours, **figures(choice.score), **crossed}


@dataclass(frozen=True)
class Calibrated:
    """The content of the new file, the choice of thresholds, and the fit of the temperature where there was one."""

    content: bytes
    choice: Choice
    fit: Fit | None


def calibrated(
    model: Model,
    commands: Path,
    others: Sequence[Path],
    *,
    priors: Mapping[str, float],
    fit_temperature: bool,
    target: float,
    threshold: float | None,
    lowest: float,
    decision: Mapping[str, float | None],
) -> Calibrated:
    """The model with other priors, a temperature and thresholds.

    Parameters
    ----------
    model : Model
    commands : folder of clips, a folder for each word
    others : folders of recordings without a command, of which the held-out ones count
    priors : how many times as likely a label becomes
    fit_temperature : whether a temperature is looked for
    target : false accepts per hour, at most
    threshold : one for every word, or None for one chosen for each, at least `lowest`
    decision : what else of the decision changes, as `Card.with_decision` takes it

    Raises
    ------
    InputError
        if the model or the sound can't be used, or no thresholds have so few false accepts
    """
    before = model.card.figures.get("priors", {})
    if not isinstance(before, dict) or not all(isinstance(ratio, int | float) for ratio in before.values()):
        raise ModelError(f"{model.name}: its model card has priors that are no numbers: export the model again")
    recordings = held_out_recordings(*others)
    proto, found = onnx.load_from_string(model.content), None
    for label, ratio in priors.items():
        prior.apply(proto, model.labels.index(label), ratio, model.name)
    if priors:
        model = _loaded(proto, model.name)
    if fit_temperature:
        found, accuracy = with_temperature(model, proto, evaluation_clips(commands, model.labels, PARTITION))
    decided = _loaded(proto, model.name)
    decided.card = model.card.with_decision(**decision)
    choice = with_thresholds(decided, commands, recordings, target, threshold, lowest)
    figures = model.card.figures | {"decision": _decision(choice, target if threshold is None else None)}
    if priors:
        figures["priors"] = before | {label: before.get(label, 1.0) * ratio for label, ratio in priors.items()}
    if found:
        figures |= {"calibration": _calibration(found), "validation_accuracy": round(accuracy, 5)}
    card = replace(decided.card, thresholds=choice.thresholds, figures=figures)
    return Calibrated(file_content(proto, card, model.name), choice, found)
