"""`speechrnn evaluate`: how often is the model right on labelled clips?"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from speechrnn.channels import parse
from speechrnn.cli import ModelOption, report_errors, say
from speechrnn.cli.options import ChannelOption
from speechrnn.errors import AudioError
from speechrnn.files import check_writable


class Partition(StrEnum):
    """By the speaker, as Speech Commands is divided."""

    training = "training"
    validation = "validation"
    testing = "testing"


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder for each word, with sound files in it")],
    partition: Annotated[
        Partition | None,
        typer.Option(help="Only clips of these speakers, with unknown words and silence in proportion"),
    ] = None,
    channel: ChannelOption = "mean",
    model: ModelOption = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the confusion matrix into this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core")] = 0,
) -> None:
    """Measure accuracy on a folder of clips, one folder for each word.

    Folders whose name is no label of the model count as _unknown_; _background_noise_ is cut into clips of _silence_.

    Example: speechrnn evaluate data/speech_commands --partition validation
    """
    with report_errors():
        taken = parse(channel)
        if picture:
            check_writable(picture, "--picture", folder, model)
            from speechrnn import pictures

            pictures.kind(picture)
        from speechrnn.cli.classify import with_progress
        from speechrnn.model import Model
        from speechrnn.training.corpus import evaluation_clips

        classifier = Model(model)
        labels = classifier.labels
        clips = evaluation_clips(folder, labels, partition.value if partition else None)
        results = classifier.classify_many((clip.sound(taken) for clip in clips), workers or None, taken)
        counts = np.zeros((len(labels), len(labels)), int)
        unreadable = 0
        for clip, result in with_progress(zip(clips, results, strict=True), len(clips)):
            if isinstance(result, AudioError):
                say(str(result))
                unreadable += 1
            else:
                counts[labels.index(clip.label), labels.index(result.label)] += 1
        if not counts.sum():
            raise AudioError(f"{folder}: none of its {len(clips)} clips could be used")
        (_print_json if as_json else print_table)(counts, labels)
        if picture:
            pictures.confusions(counts, labels, picture)
        if unreadable:
            raise typer.Exit(1)


def figures(counts: np.ndarray, labels: tuple[str, ...]) -> list[dict]:
    """For each label that was said or heard: clips, recall, precision, and what it was most often mistaken for."""
    rows = []
    for i, label in enumerate(labels):
        said, heard, right = int(counts[i].sum()), int(counts[:, i].sum()), int(counts[i, i])
        if not said + heard:
            continue
        wrong = counts[i].copy()
        wrong[i] = 0
        worst = int(wrong.argmax())
        rows.append(
            {
                "label": label,
                "clips": said,
                "recall": right / said if said else None,
                "precision": right / heard if heard else None,
                "mistaken_for": {"label": labels[worst], "clips": int(wrong[worst])} if wrong[worst] else None,
            }
        )
    return rows


def _print_json(counts: np.ndarray, labels: tuple[str, ...]) -> None:
    whole = {
        "clips": int(counts.sum()),
        "accuracy": float(np.trace(counts) / counts.sum()),
        "labels": figures(counts, labels),
        "confusions": {"labels": labels, "counts": counts.tolist()},
    }
    sys.stdout.write(json.dumps(whole, indent=2) + "\n")


def print_table(counts: np.ndarray, labels: tuple[str, ...]) -> None:
    """A row for each label, and the accuracy of all; `counts` [said, heard]."""
    from rich.table import Table

    from speechrnn.cli.terminal import plain_console

    table = Table("label")
    for header in ("clips", "recall", "precision"):
        table.add_column(header, justify="right")
    table.add_column("mistaken for")
    for row in figures(counts, labels):
        cells = ["-" if row[key] is None else f"{row[key]:.1%}" for key in ("recall", "precision")]
        wrong = row["mistaken_for"]
        table.add_row(row["label"], str(row["clips"]), *cells, f"{wrong['label']} ({wrong['clips']})" if wrong else "")
    console = plain_console()
    console.print(table)
    right, total = int(np.trace(counts)), int(counts.sum())
    console.print(f"accuracy {right / total:.2%} ({right} of {total} clips)", highlight=False)
