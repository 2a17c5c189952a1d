"""`speechrnn calibrate`: the temperature and the thresholds of a model, from validation sound."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechrnn.cli.spotting import HysteresisOption, RefractoryOption, SmoothingOption, decision_settings
from speechrnn.errors import InputError
from speechrnn.evaluation.data_folders import DATA, CommandsOption, DataOption, NoiseOption, SpeechOption
from speechrnn.export.thresholds import THRESHOLDS
from speechrnn.files import check_place, check_writable, write
from speechrnn.programs import report_errors

if TYPE_CHECKING:
    from speechrnn.export.temperature import Fit
    from speechrnn.export.thresholds import Choice
    from speechrnn.model import Model


def calibrate(
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
    ] = THRESHOLDS[0],
    smoothing: SmoothingOption = None,
    refractory: RefractoryOption = None,
    hysteresis: HysteresisOption = None,
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

    Example: speechrnn calibrate model.onnx calibrated.onnx --target-fa 0.5 --prior _silence_=8
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
        settings = decision_settings(smoothing, refractory, hysteresis)
        from speechrnn.export.calibrate import calibrated
        from speechrnn.model import Model

        model = Model(model_path)
        read = (model.path, commands or data / "speech_commands", speech or data / "speech", noise or data / "noise")
        check_writable(out, "OUT", *read)
        if picture:
            check_writable(picture, "--picture", out, *read)
        priors = _priors(prior_ or [], model)
        made = calibrated(
            model,
            commands or data / "speech_commands",
            [speech or data / "speech", noise or data / "noise"],
            priors=priors,
            fit_temperature=not no_temperature,
            target=target,
            threshold=threshold,
            lowest=lowest,
            decision=settings,
        )
        if picture and made.fit:
            fit = made.fit
            drawn = {"as it was": fit.before.bins, f"temperature {fit.temperature:.2f}": fit.after.bins}
            pictures.reliability(drawn, picture)
        write(out, made.content)
        _show(made.choice, made.fit)


def _priors(given: list[str], model: "Model") -> dict[str, float]:
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


def _show(choice: "Choice", found: "Fit | None") -> None:
    from rich.table import Table

    from speechrnn.evaluation.tables import share_of
    from speechrnn.terminal import plain_console

    console = plain_console(width=None if sys.stdout.isatty() else 120)
    table = Table("word")
    for header in ("threshold", "words", "missed", "wrong", "false accepts"):
        table.add_column(header, justify="right")
    for word, counts in [*choice.score.counts.items(), ("all", choice.score.total)]:
        if word == "all":
            table.add_section()
        threshold = choice.thresholds.get(word)
        table.add_row(
            word,
            "" if threshold is None else f"{threshold:.4f}",
            str(counts.references),
            share_of(counts.misses, counts.references),
            str(counts.substitutions),
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
        f"{name}: {share_of(score.misses, score.words)} missed, {score.substitutions} wrong, "
        f"{score.false_accepts_per_hour:.2f} false accepts per hour in {score.hours:.2f} hours"
        for name, score in named.items()
        if score is not None
    ]
    console.print("\n".join(lines), highlight=False)
