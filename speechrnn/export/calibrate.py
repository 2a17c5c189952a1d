"""python -m export.calibrate MODEL.onnx OUT.onnx --target-fa 2: our ONNX file in, the same with honest numbers out.

First the probabilities: a label is made as much more likely as it is where a microphone listens, if asked. Then a
temperature, fitted on validation clips, goes into the output layer, if it lowers the expected calibration error on
speakers that it was not fitted on. Then the thresholds, which stand on these probabilities: one for each word, so that
in the clean validation stream and in held-out speech and noise together there are no more false accepts per hour than
wanted, and as few misses as this allows. All goes into the file, with the figures found.

The stream of words counts among the sound without commands, for the other words and the noise in it: held-out speech
and noise alone would let thresholds fall until every word that rhymes with a command is one.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnx import helper
from rich.table import Table

from speechrnn.calibration import tempered
from speechrnn.card import METADATA_KEY
from speechrnn.errors import InputError, ModelError
from speechrnn.evaluation.corpus import Clip, evaluation_clips
from speechrnn.evaluation.data_folders import DATA, CommandsOption, DataOption, NoiseOption, SpeechOption
from speechrnn.evaluation.tables import share_of
from speechrnn.evaluation.validate import PARTITION, hear, held_out_recordings, word_stream
from speechrnn.export import prior, temperature, thresholds
from speechrnn.export.temperature import Fit
from speechrnn.export.thresholds import Choice
from speechrnn.files import check_place, check_writable, write
from speechrnn.model import Model
from speechrnn.programs import report_errors
from speechrnn.recordings import Recording
from speechrnn.scoring import Score
from speechrnn.spotter import Spotter
from speechrnn.terminal import plain_console

TOLERANCE = 1e-5  # between the probabilities of the new graph and the old ones with the temperature
COMPARED = 100  # clips


def with_temperature(model: Model, proto: onnx.ModelProto, clips: Sequence[Clip]) -> tuple[Fit, float]:
    """Fit a temperature and put it into `proto`, the graph of the model, if it helps; and the accuracy on all clips.

    Raises
    ------
    InputError
        if a clip or the model can't be used, or the new graph says something else than the fit
    """
    posteriors = temperature.hear(model, clips)
    found = temperature.fit(model, clips, posteriors)
    chosen = found.temperature if found.helps else 1.0
    accuracy = float(np.mean(temperature.judge(model, clips, posteriors, chosen).right))
    if not found.helps:
        return found, accuracy
    temperature.apply(proto, found.temperature, str(model.path))
    tempered_model = _loaded(proto, model.path)
    for i in np.unique(np.linspace(0, len(clips) - 1, COMPARED).astype(int)):
        made = tempered_model.posteriors(model.load_clip(clips[i].sound()))
        difference = float(np.abs(made - tempered(posteriors[i], found.temperature)).max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{model.path}: with the temperature, probabilities are off by {difference:.1e}: nothing is written"
            )
    return found, accuracy


def _loaded(proto: onnx.ModelProto, path: Path) -> Model:
    """The graph as a model; `path` is what errors name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(proto.SerializeToString())
        try:
            model = Model(file)
        except ModelError:  # it names a file that nobody knows
            raise ModelError(f"{path}: once changed it gives no probabilities: nothing is written") from None
    model.path = path
    return model


def with_thresholds(
    model: Model, commands: Path, others: Sequence[Recording], target: float, threshold: float | None, lowest: float
) -> Choice:
    """The thresholds for a wanted rate of false accepts, or the given one; the streams run through the network once."""
    spotter = Spotter(model)
    with tempfile.TemporaryDirectory() as folder:
        streams = hear(spotter, [word_stream(commands, model.labels, Path(folder))])
    heard = [*streams, *hear(spotter, others)]
    if threshold is not None:
        return thresholds.same(model.card, heard, threshold)
    return thresholds.choose(model.card, heard, target, lowest)


def _calibration(found: Fit) -> dict[str, Any]:
    return {
        "temperature": found.temperature if found.helps else 1.0,
        "expected_calibration_error": round(found.after.error if found.helps else found.before.error, 5),
        "expected_calibration_error_before": round(found.before.error, 5),
        "clips": len(found.before.right),
    }


def _decision(choice: Choice, target: float | None) -> dict[str, Any]:
    def figures(score: Score) -> dict[str, Any]:
        shares = {"missed_share": score.missed_share, "false_accepts_per_hour": score.false_accepts_per_hour}
        rounded = {key: None if value is None else round(value, 5) for key, value in shares.items()}
        return rounded | {"wrong": score.wrong}

    crossed = {} if choice.crossed is None else {"chosen_on_one_half_counted_on_the_other": figures(choice.crossed)}
    hours = {"hours": round(choice.score.hours, 3), "words": choice.score.words}
    wanted = {} if target is None else {"target_false_accepts_per_hour": target}
    return {**wanted, **hours, **figures(choice.score), **crossed}


def main(
    model_path: Annotated[Path, typer.Argument(metavar="MODEL", help="an ONNX file of ours")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the ONNX file to write")],
    target: Annotated[float, typer.Option("--target-fa", help="False accepts per hour, at most")] = 2.0,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0.01, max=1.0, help="This one for every word, instead of one chosen for each"),
    ] = None,
    lowest: Annotated[
        float,
        typer.Option("--lowest-threshold", min=0.0, max=0.99, help="No word gets a lower one than this"),
    ] = thresholds.THRESHOLDS[0],
    no_temperature: Annotated[
        bool, typer.Option("--no-temperature", help="Leave the probabilities as they are")
    ] = False,
    prior_: Annotated[
        list[str] | None,
        typer.Option(
            "--prior", metavar="LABEL=RATIO", help="Make a label so many times as likely, 0.01 to 100; may be repeated"
        ),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the reliability diagram into this file")
    ] = None,
    data: DataOption = DATA,
    commands: CommandsOption = None,
    speech: SpeechOption = None,
    noise: NoiseOption = None,
) -> None:
    """Calibrate the probabilities of a model, and choose its thresholds for a wanted rate of false accepts.

    Example: python -m export.calibrate model.onnx calibrated.onnx --target-fa 0.5 --prior _silence_=8
    """
    with report_errors():
        check_place(out, "OUT")
        if not 0.0 <= target <= 3600.0:
            raise InputError(f"--target-fa {target:g}: must be 0 to 3600 false accepts per hour")
        if picture:
            check_place(picture, "--picture")
            if no_temperature:
                raise InputError(f"--picture {picture}: shows what the temperature does, so no --no-temperature")
            from speechrnn import pictures

            pictures.kind(picture)
        model = Model(model_path)
        read = (model.path, commands or data / "speech_commands", speech or data / "speech", noise or data / "noise")
        check_writable(out, "OUT", *read)
        if picture:
            check_writable(picture, "--picture", out, *read)
        priors, before = _priors(prior_ or [], model), model.card.figures.get("priors", {})
        if not isinstance(before, dict) or not all(isinstance(ratio, int | float) for ratio in before.values()):
            raise ModelError(f"{model.path}: its model card has priors that are no numbers: export the model again")
        commands = commands or data / "speech_commands"
        others = held_out_recordings(speech or data / "speech", noise or data / "noise")
        proto, found = onnx.load_from_string(model.path.read_bytes()), None
        for label, ratio in priors.items():
            prior.apply(proto, model.labels.index(label), ratio, str(model.path))
        if priors:
            model = _loaded(proto, model.path)
        if not no_temperature:
            found, accuracy = with_temperature(model, proto, evaluation_clips(commands, model.labels, PARTITION))
        choice = with_thresholds(_loaded(proto, model.path), commands, others, target, threshold, lowest)
        figures = model.card.figures | {"decision": _decision(choice, target if threshold is None else None)}
        if priors:
            figures["priors"] = before | {label: before.get(label, 1.0) * ratio for label, ratio in priors.items()}
        if found:
            figures |= {"calibration": _calibration(found), "validation_accuracy": round(accuracy, 5)}
        card = replace(model.card, thresholds=choice.thresholds, figures=figures)
        helper.set_model_props(proto, {p.key: p.value for p in proto.metadata_props} | {METADATA_KEY: card.to_json()})
        onnx.checker.check_model(proto, full_check=True)
        if picture and found:
            drawn = {"as it was": found.before.bins, f"temperature {found.temperature:.2f}": found.after.bins}
            pictures.reliability(drawn, picture)
        write(out, proto.SerializeToString())
        _show(choice, found)


def _priors(given: list[str], model: Model) -> dict[str, float]:
    """The ratio of each label that `--prior` names."""
    ratios: dict[str, float] = {}
    for text in given:
        label, _, number = text.rpartition("=")
        if label not in model.labels:
            raise InputError(f"--prior {text}: write LABEL=RATIO, with a label of {', '.join(model.labels)}")
        try:
            ratios[label] = float(number)
        except ValueError:
            ratios[label] = 0.0
        if not 0.01 <= ratios[label] <= 100.0:
            raise InputError(f"--prior {text}: must be 0.01 to 100 times")
    return ratios


def _show(choice: Choice, found: Fit | None) -> None:
    console = plain_console(width=None if sys.stdout.isatty() else 120)
    table = Table("word")
    for header in ("threshold", "said", "missed", "wrong", "false accepts"):
        table.add_column(header, justify="right")
    for word, counts in [*choice.score.counts.items(), ("all", choice.score.total)]:
        if word == "all":
            table.add_section()
        threshold = choice.thresholds.get(word)
        table.add_row(
            word,
            "" if threshold is None else f"{threshold:.4f}",
            str(counts.said),
            share_of(counts.misses, counts.said),
            str(counts.wrong),
            str(counts.false_accepts),
        )
    console.print(table)
    lines = []
    if found:
        before, after = (f"{judged.error:.2%}" for judged in (found.before, found.after))
        lines.append(
            f"temperature {found.temperature:.3f}: expected calibration error {before} before, {after} after, "
            f"on {len(found.before.right)} clips of other speakers{'' if found.helps else '; left as it was'}"
        )
    named = {"on this sound": choice.score, "chosen on one half of it, counted on the other": choice.crossed}
    lines += [
        f"{name}: {share_of(score.misses, score.words)} missed, {score.wrong} wrong, "
        f"{score.false_accepts_per_hour:.2f} false accepts per hour in {score.hours:.2f} hours"
        for name, score in named.items()
        if score is not None
    ]
    console.print("\n".join(lines), highlight=False)


if __name__ == "__main__":
    typer.run(main)
