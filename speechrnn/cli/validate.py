"""`speechrnn validate`: all figures that a model is chosen by."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from speechrnn.evaluation.data_folders import (
    DATA,
    HELD_OUT_WORDS,
    UNSEEN_NOISE,
    UNSEEN_WORDS,
    CommandsOption,
    DataOption,
    NoiseOption,
    SpeechOption,
)
from speechrnn.files import check_place, check_writable, write
from speechrnn.programs import report_errors, say

FOUND_IN_STREAMS = {  # figure of `speechrnn score`: what it is called here, and how it is written
    "words": ("words", "{}"),
    "missed_share": ("missed", "{:.1%}"),
    "wrong": ("taken for another word", "{}"),
    "doubles": ("detected twice", "{}"),
    "hours": ("hours", "{:.2f}"),
    "false_accepts_per_hour": ("false accepts per hour", "{:.2f}"),
    "latency_median": ("seconds from the end of a word, median", "{:.2f}"),
    "latency_p95": ("95 % within", "{:.2f}"),
    "cut_out": ("right label, the clip cut out", "{:.2%}"),
    "in_stream": ("right label, in the stream", "{:.2%}"),
    "lost_in_stream": ("the difference", "{:.2%}"),
}


def validate(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="An ONNX file; the shipped one if left out")
    ] = None,
    data: DataOption = DATA,
    commands: CommandsOption = None,
    speech: SpeechOption = None,
    noise: NoiseOption = None,
    words: Annotated[
        list[Path] | None,
        typer.Option(
            "--unseen-words",
            help=f"Folders of other words, never trained on; may be repeated [default: {', '.join(UNSEEN_WORDS)}]",
            show_default=False,
        ),
    ] = None,
    some: Annotated[
        list[Path] | None,
        typer.Option(
            "--held-out-words",
            help="Folders of recordings of other words, of which training leaves some out: those; may be repeated "
            f"[default: {', '.join(HELD_OUT_WORDS)}, where they are]",
            show_default=False,
        ),
    ] = None,
    whole: Annotated[
        list[Path] | None,
        typer.Option(
            "--unseen-noise",
            help="Folders of noise, never trained on; of --noise, held-out recordings are taken in any case; "
            f"may be repeated [default: {', '.join(UNSEEN_NOISE)}]",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything as JSON into this file")] = None,
) -> None:
    """Measure all that a model is chosen by: clips, words and noise never trained on, streams, probabilities.

    Exit code 1 if a part had to be left out or a clip could not be read, 2 if nothing could be measured.

    Example: speechrnn validate model.onnx --json model.json
    """
    with report_errors():
        if json_file:
            check_place(json_file, "--json")
        from speechrnn.evaluation.partition import LIST_NAMES
        from speechrnn.evaluation.validate import Folders, measure
        from speechrnn.model import Model

        recogniser = Model(model)
        folders = Folders(
            commands=commands or data / "speech_commands",
            speech=speech or data / "speech",
            noise=noise or data / "noise",
            unseen_words=tuple(words or (data / folder for folder in UNSEEN_WORDS)),
            held_out_words=tuple(some or (data / folder for folder in HELD_OUT_WORDS if (data / folder).is_dir())),
            unseen_noise=tuple(whole or (data / folder for folder in UNSEEN_NOISE if (data / folder).is_dir())),
        )
        if json_file:
            sounds = (*folders.unseen_words, *folders.held_out_words, *folders.unseen_noise)
            lists = (folders.commands / name for name in LIST_NAMES.values())
            read = (folders.commands, folders.speech, folders.noise, *sounds, *lists)
            check_writable(json_file, "--json", recogniser.path, *read)
        made = measure(recogniser, folders)
        show(made, recogniser.labels)
        for part, why in made["skipped"].items():
            say(f"{part.replace('_', ' ')}: left out: {why}")
        if json_file:
            write(json_file, (json.dumps(made, indent=2) + "\n").encode())
        if made["skipped"] or any(isinstance(part, dict) and part.get("unreadable") for part in made.values()):
            raise typer.Exit(1)


def show(made: dict[str, Any], labels: tuple[str, ...]) -> None:
    """Print tables of what `measure` found."""
    import numpy as np
    from rich.table import Table

    from speechrnn.card import SILENCE
    from speechrnn.evaluation import corpus
    from speechrnn.evaluation.tables import print_confusions
    from speechrnn.evaluation.validate import HISS, NOISY
    from speechrnn.terminal import plain_console

    console = plain_console(width=None if sys.stdout.isatty() else 120)
    if "clips" in made:
        print_confusions(np.array(made["clips"]["confusions"]), labels)
    for part, label, header in (
        ("unseen_words", corpus.UNKNOWN, "word never trained"),
        ("held_out_words", corpus.UNKNOWN, "held-out words"),
        ("unseen_noise", SILENCE, "noise never trained"),
    ):
        if part in made:
            table = Table(header, "clips", label, "taken for")
            for kind, row in [*made[part]["kinds"].items(), ("all", made[part])]:
                if kind == "all":
                    table.add_section()
                others = ", ".join(f"{other} ({count})" for other, count in row["taken_for"].items())
                table.add_row(kind, str(row["clips"]), f"{row['recall']:.1%}", others)
            console.print(table)
    if "clips" in made:
        for row in made["clips"]["labels"]:
            if row["label"] == made["clips"]["weakest_word"]:
                console.print(f"weakest word: {row['label']}, recall {row['recall']:.1%}", highlight=False)
        error = made["clips"]["expected_calibration_error"]
        console.print(f"expected calibration error {error:.2%}", highlight=False)
    streams = {
        "clean": "clean_stream",
        f"noise at {NOISY:g} dB": "noisy_stream",
        f"hiss of {HISS:g} dB between": "hissing_stream",
        "speech, noise": "held_out",
    }
    streams = {name: part for name, part in streams.items() if part in made}
    if streams:
        table = Table("streams")
        for name in streams:
            table.add_column(name, justify="right")
        for key, (name, form) in FOUND_IN_STREAMS.items():
            values = [made[part].get(key) for part in streams.values()]
            table.add_row(name, *("-" if value is None else form.format(value) for value in values))
        console.print(table)
