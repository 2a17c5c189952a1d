"""python -m data_scripts.compare PLAN.toml OUT.md: trainings that differ in one thing each, over several seeds.

A plan names a config, what all runs change in it, the seeds, and the variants; the first variant is what the others are
held against:

    config = "configs/gru-12.toml"
    set = ["train.epochs=8"]
    seeds = [1, 2, 3]
    [[variants]]
    name = "as it is"
    [[variants]]
    name = "no SpecAugment"
    set = ["augment.frequency_masks=0", "augment.time_masks=0"]

Each run is trained by `speechrnn train`, exported, and measured as `data_scripts.validate` does. A plan that was
stopped goes on where it was, so a long one can be done in pieces.
"""

import json
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from data_scripts.validate import (
    DATA,
    UNSEEN_NOISE,
    UNSEEN_WORDS,
    DataOption,
    clips,
    open_set,
    unseen_noise,
    unseen_words,
)
from export.to_onnx import export
from export.writing import write
from speechrnn.card import SILENCE
from speechrnn.cli import check_writable, report_errors, say
from speechrnn.cli.bench import clip_times
from speechrnn.errors import ConfigError, InputError
from speechrnn.model import Model
from speechrnn.training import config as settings
from speechrnn.training import corpus

SHARES = {  # figure of a run: column of the table
    "accuracy": "validation accuracy",
    "weakest_word": "weakest word",
    "unseen_words": "`_unknown_` on unseen words",
    "unseen_noise": "`_silence_` on unseen noise",
}


@dataclass(frozen=True)
class Plan:
    """What is trained."""

    config: str
    set: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: Mapping[str, tuple[str, ...]]  # name: what it changes

    def overrides(self, variant: str, seed: int) -> list[str]:
        return [*self.set, *self.variants[variant], f"train.seed={seed}"]


def read_plan(path: Path) -> Plan:
    """Raises ConfigError, naming the file and what is wrong in it; every run's settings are checked at once."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        variants = {variant["name"]: tuple(variant.get("set", ())) for variant in values["variants"]}
        plan = Plan(values["config"], tuple(values.get("set", ())), tuple(values["seeds"]), variants)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}): name a plan") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: needs config, seeds and variants, each with a name ({error})") from None
    if len(variants) != len(values["variants"]) or not plan.seeds or not variants:
        raise ConfigError(f"{path}: needs a seed, a variant, and a different name for each variant")
    for variant in variants:
        settings.load(plan.config, plan.overrides(variant, plan.seeds[0]))
    return plan


def run(plan: Plan, variant: str, seed: int, folder: Path, data: Path) -> dict[str, float]:
    """Train, export and measure; what is there already isn't done again."""
    found = folder / "figures.json"
    if found.exists():
        return json.loads(found.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "speechrnn", "train", plan.config, "--run-folder", str(folder)]
    for override in plan.overrides(variant, seed):
        command += ["--set", override]
    if (folder / "last.pt").exists():
        command.append("--resume")
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{variant}, seed {seed}: training failed, see above")
    model_file = folder / "model.onnx"
    export(folder / "best.pt", model_file)
    figures = measure(Model(model_file), data)
    write(found, json.dumps(figures, indent=2).encode())
    return figures


def measure(model: Model, data: Path) -> dict[str, float]:
    """Parameters, milliseconds for a clip on this machine, and shares of right labels."""
    heard = clips(model, data / "speech_commands")
    recalls = {row["label"]: row["recall"] for row in heard["labels"]}
    words = unseen_words([data / name for name in UNSEEN_WORDS], model.labels)
    noises = unseen_noise(data / "noise", [data / name for name in UNSEEN_NOISE])
    return {
        "parameters": model.card.figures["parameters"],
        "milliseconds": 1000.0 * float(np.median(clip_times([model]))),
        "accuracy": heard["accuracy"],
        "weakest_word": recalls[heard["weakest_word"]],
        "unseen_words": open_set(model, words, corpus.UNKNOWN)["recall"],
        "unseen_noise": open_set(model, noises, SILENCE)["recall"],
    }


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Markdown: of each variant the mean over its seeds, the lowest and highest, and the gain over the first variant.

    A gain is clear where the worst seed of one is better than the best seed of the other; else it is within the spread.
    """
    base = next(iter(found.values()))
    rows = [["variant", "seeds", "parameters", "ms a clip", *SHARES.values()]]
    for name, runs in found.items():
        time_of_one = statistics.mean(figures["milliseconds"] for figures in runs)
        row = [name, str(len(runs)), f"{runs[0]['parameters']:.0f}", f"{time_of_one:.1f}"]
        for key in SHARES:
            own, others = ([100.0 * figures[key] for figures in group] for group in (runs, base))
            cell = f"{statistics.mean(own):.2f} % ({min(own):.2f} to {max(own):.2f})"
            if runs is not base:
                clear = min(own) > max(others) or max(own) < min(others)
                gain = statistics.mean(own) - statistics.mean(others)
                cell += f", {gain:+.2f}{'' if clear else ' within the spread'}"
            row.append(cell)
        rows.append(row)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="What to train")],
    out: Annotated[Path, typer.Argument(metavar="OUT.md", help="Where the table goes")],
    runs: Annotated[Path, typer.Option("--runs", help="Folder for the run folders")] = Path("runs"),
    data: DataOption = DATA,
) -> None:
    """Train variants of one recipe, several seeds of each, and write a table of what they gained.

    Example: python -m data_scripts.compare configs/plans/cells.toml cells.md
    """
    with report_errors():
        check_writable(out, "OUT.md")
        plan = read_plan(plan_file)
        found: dict[str, list[dict[str, float]]] = {}
        for seed in plan.seeds:
            for number, variant in enumerate(plan.variants):
                say(f"{variant}, seed {seed}")
                folder = runs / plan_file.stem / f"{number}-{seed}"
                found.setdefault(variant, []).append(run(plan, variant, seed, folder, data))
            write(out, table(found).encode())  # so far
        typer.echo(out.read_text(encoding="utf-8"), nl=False)


if __name__ == "__main__":
    app()
