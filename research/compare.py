"""python -m research.compare PLAN.toml OUT.md: trainings that differ in one thing each, over several seeds.

A plan names a config, what all runs change in it, the seeds, and the variants, of which the first is the baseline:

    config = "configs/gru-12.toml"
    set = ["train.epochs=8"]
    seeds = [1, 2, 3]
    [[variants]]
    name = "as it is"
    [[variants]]
    name = "no SpecAugment"
    set = ["augment.frequency_masks=0", "augment.time_masks=0"]

Each run is trained by `speechrnn train` and measured in torch on the data of `speechrnn validate`, so that networks for
whole clips, which can't be exported, are compared too. OUT.json has the figures of each run under a digest of its
settings: a plan that was stopped goes on where it was. The time of a clip is not kept: all networks are timed anew.
"""

import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from speechrnn.audio import SAMPLE_RATE
from speechrnn.card import SILENCE
from speechrnn.errors import ConfigError, InputError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.data_folders import DATA, UNSEEN_NOISE, UNSEEN_WORDS, DataOption
from speechrnn.evaluation.validate import unseen_noise, unseen_words
from speechrnn.files import check_writable, write
from speechrnn.model import Sound
from speechrnn.programs import report_errors, say
from speechrnn.timing import median_times
from speechrnn.training import checkpoint, toml_files
from speechrnn.training import config as settings
from speechrnn.training.audio_pool import listed
from speechrnn.training.bounds import shown
from speechrnn.training.data import clip_tensor
from speechrnn.training.network import Recognizer
from speechrnn.training.train import predict

TIMED_CLIPS = 30

SHARES = {  # figure of a run: column of the table
    "accuracy": "validation accuracy",
    "weakest_word": "weakest word",
    "unseen_words": "`_unknown_` on unseen words",
    "unseen_noise": "`_silence_` on unseen noise",
}


@dataclass(frozen=True)
class Plan:
    """Which trainings are compared."""

    config: str
    set: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: Mapping[str, tuple[str, ...]]  # name: what it changes

    def overrides(self, variant: str, seed: int) -> list[str]:
        return [*self.set, *self.variants[variant], f"train.seed={seed}"]

    def resolved(self, variant: str, seed: int) -> settings.Config:
        return settings.load(self.config, self.overrides(variant, seed))


def read_plan(path: Path) -> Plan:
    """Raises ConfigError, naming the file and what is wrong in it; every run's settings are checked at once."""
    values = toml_files.read(path)
    variants = values.get("variants")
    if not (isinstance(variants, list) and variants and all(isinstance(variant, dict) for variant in variants)):
        raise ConfigError(f"{path}: needs config, seeds and variants, each with a name")
    seeds, name = values.get("seeds"), values.get("config")
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds) and isinstance(name, str)):
        raise ConfigError(f"{path}: needs a seed or more, whole numbers in a list, and config, the name of a file")
    changes: dict[str, tuple[str, ...]] = {}
    for variant in variants:
        called = variant.get("name")
        if not isinstance(called, str) or not called.isprintable() or "|" in called or not 0 < len(called) <= 100:
            raise ConfigError(f"{path}: {shown(called)} is no name of a variant: one line of the table, without |")
        if called in changes:
            raise ConfigError(f"{path}: two variants are called {called}: give each a different name")
        changes[called] = _overrides(variant.get("set", []), path)
    plan = Plan(name, _overrides(values.get("set", []), path), tuple(seeds), changes)
    for called in changes:
        for seed in plan.seeds:
            plan.resolved(called, seed)
    return plan


def _overrides(given: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(override, str) for override in given):
        raise ConfigError(f'{path}: set: {shown(given)} is not a list as ["train.epochs=3"]')
    return tuple(given)


def digest(plan: Plan, variant: str, seed: int) -> str:
    """Names all that makes a difference to a run: other settings or another list of excluded clips, another digest.

    A setting that is as `Config` has it doesn't count, so a new one leaves the digests of earlier runs as they were.
    (Where such a default is changed, the figures kept so far are of the old one, and have to be deleted.)
    """
    config, usual = plan.resolved(variant, seed), settings.Config()
    config = replace(config, name=usual.name, data=replace(config.data, sources=usual.data.sources))
    content = [_unlike(usual.to_dict(), config.to_dict()), sorted(listed(config.data.exclude))]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _unlike(usual: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Those of nested values that differ from the usual ones."""
    differing = {key: value for key, value in values.items() if value != usual[key]}
    return {key: _unlike(usual[key], value) if isinstance(value, dict) else value for key, value in differing.items()}


def read_figures(path: Path) -> dict[str, dict[str, float]]:
    """Figures of runs by their digests; none if there is no such file. Raises InputError, naming the file."""
    try:
        return {name: dict(figures) for name, figures in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: can't be used ({error}): delete it, and all runs are repeated") from None


def found(plan: Plan, known: Mapping[str, dict[str, float]]) -> dict[str, list[dict[str, float]]]:
    """By variant, the figures of those of its seeds that are known; variants without any are left out."""
    names = {variant: [digest(plan, variant, seed) for seed in plan.seeds] for variant in plan.variants}
    return {
        variant: [known[name] for name in own if name in known]
        for variant, own in names.items()
        if not known.keys().isdisjoint(own)
    }


def run(plan: Plan, variant: str, seed: int, folder: Path, data: Path) -> dict[str, float]:
    """Train, on from where it was stopped if it was, and measure."""
    command = [sys.executable, "-m", "speechrnn", "train", plan.config, "--run-folder", str(folder)]
    for override in plan.overrides(variant, seed):
        command += ["--set", override]
    if (folder / "last.pt").exists():
        command.append("--resume")
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"{variant}, seed {seed}: training failed, see above")
    model, _ = checkpoint.recognizer(folder / "best.pt")
    return measure(model, data)


def measure(model: Recognizer, data: Path) -> dict[str, float]:
    """Parameters, and shares of right labels."""

    def right(sounds: Sequence[Sound], labels: Sequence[str]) -> torch.Tensor:
        predicted = predict(model, clip_tensor(sounds, model.config.tail_samples))
        return predicted == torch.tensor([model.labels.index(label) for label in labels])

    clips = corpus.evaluation_clips(data / "speech_commands", model.labels, "validation")
    truth = [clip.label for clip in clips]
    of_clips = right([clip.sound() for clip in clips], truth)
    of_words = {
        word: of_clips[[label == word for label in truth]].float().mean().item()
        for word in set(truth) - {corpus.UNKNOWN, SILENCE}
    }
    words = [sound for _, sound in unseen_words([data / name for name in UNSEEN_WORDS], model.labels)]
    noises = [sound for _, sound in unseen_noise(data / "noise", [data / name for name in UNSEEN_NOISE])]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "streamable": model.config.network.streamable,
        "accuracy": of_clips.float().mean().item(),
        "weakest_word": min(of_words.values()),
        "unseen_words": right(words, [corpus.UNKNOWN] * len(words)).float().mean().item(),
        "unseen_noise": right(noises, [SILENCE] * len(noises)).float().mean().item(),
    }


@torch.no_grad()
def clip_milliseconds(plan: Plan) -> dict[str, float]:
    """Of each variant's network, the median for one clip of a second and its tail at a time, in torch on one thread.

    The networks take turns, so that what else the machine does slows all of them; variants of one network are one.
    """
    configs = {variant: plan.resolved(variant, plan.seeds[0]) for variant in plan.variants}
    networks = {variant: (c.front_end, c.network, c.tail_seconds, c.data.task) for variant, c in configs.items()}
    jobs = {networks[variant]: _inference(config) for variant, config in configs.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = dict(zip(jobs, median_times(list(jobs.values()), TIMED_CLIPS), strict=True))
    torch.set_num_threads(threads)
    return {variant: 1000.0 * seconds[network] for variant, network in networks.items()}


def _inference(config: settings.Config) -> Callable[[], object]:
    """Inference of a clip of a second and its tail by an untrained network."""
    model = Recognizer(config, corpus.task_labels(config.data.task)).eval()
    length = int(corpus.CLIP_SECONDS * SAMPLE_RATE) + config.tail_samples
    return partial(model, 0.1 * torch.randn(1, length), torch.zeros(1, model.state_size))


def table(found: Mapping[str, Sequence[Mapping[str, float]]], milliseconds: Mapping[str, float]) -> str:
    """Markdown: of each variant the mean over its seeds, the lowest and highest, and the gain over the first variant.

    A gain is clear where the worst seed of one is better than the best seed of the other; else it is within the spread.
    Of one seed there is none.
    """
    first, base = next(iter(found.items()))
    rows = [["variant", "seeds", "parameters", "ms a clip", "streams", *SHARES.values()]]
    for name, runs in found.items():
        own_time, others_time = milliseconds[name], milliseconds[first]
        row = [name, str(len(runs)), f"{runs[0]['parameters']:.0f}"]
        row.append(f"{own_time:.1f} ({own_time / others_time:.2f} times)")
        row.append("yes" if runs[0]["streamable"] else "no")
        for key in SHARES:
            own, others = ([100.0 * figures[key] for figures in group] for group in (runs, base))
            cell = f"{statistics.mean(own):.2f} % ({min(own):.2f} to {max(own):.2f})"
            if runs is not base:
                cell += f", {statistics.mean(own) - statistics.mean(others):+.2f}"
                if min(len(own), len(others)) == 1:
                    cell += " of one seed"
                elif min(own) <= max(others) and max(own) >= min(others):
                    cell += " within the spread"
            row.append(cell)
        rows.append(row)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="What to train")],
    out: Annotated[Path, typer.Argument(metavar="OUT.md", help="Where the table goes, and OUT.json beside it")],
    runs: Annotated[Path, typer.Option("--runs", help="Folder for the run folders")] = Path("runs"),
    data: DataOption = DATA,
) -> None:
    """Train variants of one recipe, several seeds of each, and write a table of what they gained.

    Example: python -m research.compare research/cells/plan.toml cells.md
    """
    with report_errors():
        check_writable(out, "OUT.md", plan_file)
        if out.suffix == ".json":
            raise InputError(f"{out}: is where the figures go: name the table otherwise, as {out.with_suffix('.md')}")
        plan, kept = read_plan(plan_file), out.with_suffix(".json")
        check_writable(kept, "OUT.json", plan_file, plan.config)
        check_writable(out, "OUT.md", plan.config)
        known, milliseconds = read_figures(kept), clip_milliseconds(plan)
        for seed in plan.seeds:
            for variant in plan.variants:
                say(f"{variant}, seed {seed}")
                name = digest(plan, variant, seed)
                if name not in known:
                    known[name] = run(plan, variant, seed, runs / plan_file.stem / name, data)
                    write(kept, (json.dumps(known, indent=2) + "\n").encode())
                write(out, table(found(plan, known), milliseconds).encode())  # so far
        typer.echo(out.read_text(encoding="utf-8"), nl=False)


if __name__ == "__main__":
    app()
