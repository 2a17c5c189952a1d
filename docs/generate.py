"""python -m docs.generate: fill the blocks of README.md and the pages from the code and docs/results/.

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`; its NAME is one of `BLOCKS`. The pages of
`SITE_PAGES` are written by `docs/hooks.py` while the site is built. The files in docs/results/ are rewritten with one
line for each part. `--check` changes nothing and exits with 1 if a file isn't what it would be.
"""

import dataclasses
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import typer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODELS = ("gru-12", "gru-12-small")
STREAMS = {
    "clean_stream": "clean",
    "noisy_stream": "noise at 10 dB",
    "hissing_stream": "faint hiss in the gaps (-60 dB)",
}
NOISES = {
    "moodist": "rooms, streets and nature",
    "esc10": "household sounds",
    "ms_snsd_slices": "public places, in cuts of a second",
    "music_librosa": "music of several kinds",
    "music_pyaudio": "music of another collection",
    "pyaudio_silence": "quiet rooms",
}


def result(name: str) -> Any:
    """A file of docs/results, without its suffix."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(columns: list[str] | tuple[str, ...], rows: list[list[str]]) -> str:
    """Rows of cells as Markdown."""
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(text: str) -> str:
    """Text in which labels such as _silence_ stay what they are."""
    return re.sub(r"(?<![`\w])(_\w+_)(?![`\w])", r"`\1`", text).replace("<", "\\<")


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def latency(stream: dict[str, Any]) -> str:
    return f"{stream['latency_median']:.2f} s ({stream['latency_p95']:.2f} s)"


def short() -> str:
    """Six rows on how good the default model is."""
    found = result("gru-12")
    clean, noisy, held_out = (found[part] for part in ("clean_stream", "noisy_stream", "held_out"))
    rows = [
        [f"clips of other speakers, 12 labels ({found['clips']['clips']})", percent(found["clips"]["accuracy"])],
        ["words missed in a stream; with noise 10 dB below them", both(clean, noisy, "missed_share")],
        ["false accepts an hour in these streams", both(clean, noisy, "false_accepts_per_hour")],
        ["false accepts an hour in speech, noise and music, half of it of kinds that are new to it", rate(held_out)],
        ["from the end of a word to its detection, median (95 % within)", latency(clean)],
        ["other words are `_unknown_`, other noise is `_silence_`", recalls(found)],
    ]
    return table(["`gru-12`, measured on sound that was never trained on", ""], rows)


def rate(stream: dict[str, Any]) -> str:
    return f"{stream['false_accepts_per_hour']:.1f}"


def both(clean: dict[str, Any], noisy: dict[str, Any], key: str) -> str:
    shown = rate if key == "false_accepts_per_hour" else lambda stream: percent(stream[key])
    return f"{shown(clean)}; {shown(noisy)}"


def recalls(found: dict[str, Any]) -> str:
    return f"{percent(found['unseen_words']['recall'])}, {percent(found['unseen_noise']['recall'])}"


def labels() -> str:
    """Recall and precision of each label, for both models."""
    first, second = (result(model)["clips"] for model in MODELS)
    rows = [
        [
            plain(one["label"]),
            str(one["clips"]),
            *(percent(row[key]) for row in (one, two) for key in ("recall", "precision")),
        ]
        for one, two in zip(first["labels"], second["labels"], strict=True)
    ]
    overall = [cell for clips in (first, second) for cell in (f"**{percent(clips['accuracy'], 2)}**", "")]
    rows.append(["**all: accuracy**", f"**{first['clips']}**", *overall])
    columns = [f"`{model}` {key}" for model in MODELS for key in ("recall", "precision")]
    return table(["label", "clips", *columns], rows)


def streams() -> str:
    """What becomes of the validation clips in streams."""
    columns, rows = ["stream", "model"], []
    columns += ["missed", "another word", "twice", "false accepts per hour", "latency, median (95 %)"]
    columns += ["right label, cut out / in the stream"]
    for part, name in STREAMS.items():
        for model in MODELS:
            found = result(model)[part]
            counts = [percent(found["missed_share"]), str(found["wrong"]), str(found["doubles"]), rate(found)]
            shares = f"{percent(found['cut_out'])} / {percent(found['in_stream'])}"
            rows.append([name, f"`{model}`", *counts, latency(found), shares])
    return table(columns, rows)


def held_out() -> str:
    """False accepts in sound without a command."""
    rows = []
    for model in MODELS:
        found = result(model)["held_out"]
        rows.append([f"`{model}`", f"{found['hours']:.2f}", str(found["false_accepts"]), rate(found)])
    return table(["", "hours", "false accepts", "per hour"], rows)


def unseen() -> str:
    """Words and noise that are to be `_unknown_` and `_silence_`."""
    first, second = (result(model) for model in MODELS)
    rows = []
    for part, label in (("unseen_words", "`_unknown_`"), ("unseen_noise", "`_silence_`")):
        for kind, found in first[part]["kinds"].items():
            name = f'"{kind}"' if part == "unseen_words" else NOISES.get(kind, kind)
            others = ", ".join(f"{other} {count}" for other, count in found["taken_for"].items())
            shares = [percent(found["recall"]), percent(second[part]["kinds"][kind]["recall"])]
            rows.append([name, label, str(found["clips"]), *shares, plain(others)])
        shares = [f"**{percent(found[part]['recall'])}**" for found in (first, second)]
        rows.append(["**all**", label, str(first[part]["clips"]), *shares, ""])
    return table(["sound", "is to be", "clips", *(f"`{model}`" for model in MODELS), "`gru-12` takes it for"], rows)


def held_out_words() -> str:
    """Words of data sets of which training has a part."""
    found = result("held-out-words")
    kinds = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found["kinds"].items())
    return f"{percent(found['recall'])} of {found['clips']} recordings are `_unknown_` ({kinds}).\n"


def calibration() -> str:
    """How far the probabilities can be believed."""
    rows = [[f"`{model}`", percent(result(model)["clips"]["expected_calibration_error"], 2)] for model in MODELS]
    return table(["", "expected calibration error on validation clips"], rows)


def weights() -> str:
    """What int8 and float16 weights cost."""
    rows = []
    for kind, row in zip(("float32", "int8", "float16"), result("weights"), strict=True):
        same, largest = percent(row["label_agreement"], 2), f"{row['largest_probability_error']:.4f}"
        figures = [f"{row['MB']:.2f}", same, largest, percent(row["accuracy"], 2), f"{row['block_ratio']:.1f}"]
        rows.append([kind, *figures])
    return table(["weights", "MB", "same label", "largest error", "accuracy", "time of a block, relative"], rows)


def given(name: str) -> str:
    """A table of docs/results/speed.json."""
    found = result("speed")[name]
    return table(found["columns"], found["rows"])


def comments(cls: type) -> dict[str, str]:
    """What the source says about each field of a dataclass: the comment above it, and the one behind it."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(cls).splitlines():
        if match := re.match(r"    (\w+): [^#]*(?:# (.*))?$", line):
            found[match[1]] = " ".join([*above, *([match[2]] if match[2] else [])])
        above = [*above, match[1]] if (match := re.match(r"    # (.*)$", line)) else []
    return found


def settings() -> str:
    """The page of every setting of a training run, from the dataclasses."""
    config = import_module("speechrnn.training.config")
    text = """# Settings of a training run

A TOML file names those that differ from the defaults; `--set train.epochs=3` changes one on the command line. A value
out of its bounds is refused by name.

"""
    tables = [hint for hint in get_type_hints(config.Config).values() if dataclasses.is_dataclass(hint)]
    for cls in (config.Config, *tables):
        hints, notes, rows = get_type_hints(cls, include_extras=True), comments(cls), []
        for field in dataclasses.fields(cls):
            if dataclasses.is_dataclass(hints[field.name]):
                continue
            bounds = next((b for b in getattr(hints[field.name], "__metadata__", ())), None)
            between = f"{bounds.low:g} to {bounds.high:g}" if bounds else ""
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            rows.append([f"`{cls.table}{field.name}`", f"`{json.dumps(default)}`", between, plain(notes[field.name])])
        heading = cls.table.rstrip(".") or "top level"
        text += f"## {heading}\n\n{cls.__doc__}\n\n" + table(["setting", "default", "bounds", ""], rows) + "\n"
    return text


def card() -> str:
    """The fields of a model card, with what the default model says."""
    import speechrnn
    from speechrnn.card import Card

    notes, rows = comments(Card), []
    for name, value in json.loads(speechrnn.load().card.to_json()).items():
        shown = textwrap.shorten(json.dumps(value, ensure_ascii=False), 90, placeholder=" ...")
        rows.append([f"`{name}`", notes[name], f"`{shown}`"])
    return table(["field", "", "`gru-12` says"], rows)


def verbs() -> dict[str, Callable[..., None]]:
    """The functions of the command line, by name."""
    names = import_module("speechrnn.cli").VERBS
    modules = {verb: verb.replace("-", "_") for verb in names}
    return {verb: getattr(import_module(f"speechrnn.cli.{name}"), name) for verb, name in modules.items()}


def command_line() -> str:
    """The page of every verb, from its help."""
    text = """# Command line

Each verb says this with `speechrnn VERB --help`. Exit codes: 0 if all went well, 1 if some files failed, 2 if nothing
could be done, with one line that says why.

"""
    for verb, function in verbs().items():
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command(verb)(function)
        command: Any = typer.main.get_command(app)
        context = command.make_context("speechrnn", [], resilient_parsing=True)
        arguments, options = [], []
        for parameter in command.params:
            if parameter.name == "help":
                continue
            value = ", ".join(f"`{part}`" for part in parameter.make_metavar(context).strip("<>").split("|"))
            least, most = (getattr(parameter.type, bound, None) for bound in ("min", "max"))
            if least is not None and not parameter.metavar:
                value = f"from {least:g} on" if most is None else f"{least:g} to {most:g}"
            described = plain(getattr(parameter, "help", None) or "")
            if parameter.param_type_name == "argument":
                arguments.append([value, described])
                continue
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            flag = parameter.is_flag or parameter.default in (None, (), [])
            default = getattr(parameter.default, "value", parameter.default)
            note = "" if flag or not parameter.show_default else f" [default: {default}]"
            options.append([names, "" if parameter.is_flag else value, described + note])
        text += f"## {verb}\n\n{prose(inspect.getdoc(function) or '')}\n"
        text += table(["argument", ""], arguments) + "\n" if arguments else ""
        text += table(["option", "value", ""], options) + "\n" if options else ""
    return text


def prose(text: str) -> str:
    """The text of a verb, its examples as code."""
    parts = []
    for paragraph in text.split("\n\n"):
        example = re.match(r"(?:Example|Or): (.*)", " ".join(paragraph.split()))
        parts.append(f"```sh\n{example[1]}\n```" if example else plain(" ".join(paragraph.split())))
    return "\n\n".join(parts) + "\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "short": short,
    "labels": labels,
    "streams": streams,
    "held-out": held_out,
    "unseen": unseen,
    "held-out-words": held_out_words,
    "calibration": calibration,
    "weights": weights,
    "speed": lambda: given("speed"),
    "size": lambda: given("size"),
    "card": card,
}
SITE_PAGES: dict[str, Callable[[], str]] = {
    "reference/command-line.md": command_line,
    "reference/settings.md": settings,
}


def filled(text: str) -> str:
    """A page with all of its blocks made anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block[2]]().rstrip()}\n\n{block[3]}", text)


def pages() -> list[Path]:
    """README.md and every page of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def compact(text: str) -> str:
    """JSON with one line for each entry of the outermost object or list."""
    found = json.loads(text)
    keys = [f"{json.dumps(key)}: " for key in found] if isinstance(found, dict) else [""] * len(found)
    values = found.values() if isinstance(found, dict) else found
    lines = ",\n".join(key + json.dumps(value, ensure_ascii=False) for key, value in zip(keys, values, strict=True))
    return f"{{\n{lines}\n}}\n" if isinstance(found, dict) else f"[\n{lines}\n]\n"


def main(check: bool = False) -> None:
    """Fill the blocks of all pages, and make the files of docs/results compact."""
    stale = []
    for path in [*pages(), *sorted(RESULTS.glob("*.json"))]:
        text = path.read_text(encoding="utf-8")
        made = compact(text) if path.suffix == ".json" else filled(text)
        if made != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(made, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'is out of date: run python -m docs.generate' if check else 'written'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    typer.run(main)
