"""`speechrnn evaluate`: accuracy on labelled clips."""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from speechrnn.channels import parse
from speechrnn.cli.options import ChannelOption
from speechrnn.evaluation.partition import Partition
from speechrnn.evaluation.tables import confusion_figures, print_confusions
from speechrnn.files import check_writable
from speechrnn.programs import ModelOption, report_errors


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
        from speechrnn.evaluation.validate import confusions
        from speechrnn.model import Model

        classifier = Model(model)
        labels = classifier.labels
        part = partition.value if partition else None
        counts, _, unreadable = confusions(classifier, folder, part, workers or None, taken)
        (_print_json if as_json else print_confusions)(counts, labels)
        if picture:
            pictures.confusions(counts, labels, picture)
        if unreadable:
            raise typer.Exit(1)


def _print_json(counts: np.ndarray, labels: tuple[str, ...]) -> None:
    whole = {
        "clips": int(counts.sum()),
        "accuracy": float(np.trace(counts) / counts.sum()),
        "labels": confusion_figures(counts, labels),
        "confusions": {"labels": labels, "counts": counts.tolist()},
    }
    sys.stdout.write(json.dumps(whole, indent=2) + "\n")
