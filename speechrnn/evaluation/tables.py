"""Confusion counts and scores as JSON and as tables on a terminal."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from speechrnn.terminal import plain_console

if TYPE_CHECKING:
    from speechrnn.evaluation.recordings import IntervalAccuracy
    from speechrnn.evaluation.scoring import Score

# What figures are called in JSON, and in `Score` and `WordCounts`.
COUNTS = {key: key for key in ("hits", "misses", "false_accepts")} | {"wrong": "substitutions", "doubles": "duplicates"}


def confusion_figures(counts: np.ndarray, labels: tuple[str, ...]) -> list[dict]:
    """A row for each label with clips or predictions: clips, recall, precision, and its most frequent confusion.

    Parameters
    ----------
    counts : int array [labels, labels]
        clips by reference label (rows) and predicted label (columns)
    labels : names of both
    """
    rows = []
    for i, label in enumerate(labels):
        clips, predicted, right = int(counts[i].sum()), int(counts[:, i].sum()), int(counts[i, i])
        if not clips + predicted:
            continue
        wrong = counts[i].copy()
        wrong[i] = 0
        worst = int(wrong.argmax())
        rows.append(
            {
                "label": label,
                "clips": clips,
                "recall": right / clips if clips else None,
                "precision": right / predicted if predicted else None,
                "mistaken_for": {"label": labels[worst], "clips": int(wrong[worst])} if wrong[worst] else None,
            }
        )
    return rows


def print_confusions(counts: np.ndarray, labels: tuple[str, ...]) -> None:
    """Print the rows of `confusion_figures`, and the accuracy."""
    from rich.table import Table

    table = Table("label")
    for header in ("clips", "recall", "precision"):
        table.add_column(header, justify="right")
    table.add_column("mistaken for")
    for row in confusion_figures(counts, labels):
        cells = ["-" if row[key] is None else f"{row[key]:.1%}" for key in ("recall", "precision")]
        wrong = row["mistaken_for"]
        table.add_row(row["label"], str(row["clips"]), *cells, f"{wrong['label']} ({wrong['clips']})" if wrong else "")
    console = plain_console()
    console.print(table)
    right, total = int(np.trace(counts)), int(counts.sum())
    console.print(f"accuracy {right / total:.2%} ({right} of {total} clips)", highlight=False)


def score_figures(result: "Score", accuracy: "IntervalAccuracy") -> dict:
    """A score as the JSON of `speechrnn score`; the labels of clips only where there are some."""
    names = {"words": "words", **COUNTS, "missed_share": "miss_rate", "double_share": "duplicate_rate"}
    names |= {key: key for key in ("hours", "false_accepts_per_hour", "latency_median", "latency_p95", "latencies")}
    names |= {key: key for key in ("probability_median", "peak_median")}
    whole: dict = {key: getattr(result, name) for key, name in names.items()}
    names = {"said": "references", **COUNTS}
    whole["per_word"] = {
        word: {key: getattr(counts, name) for key, name in names.items()} for word, counts in result.counts.items()
    }
    if accuracy.clips:
        whole["clips"] = asdict(accuracy)
    return whole


def share_of(count: int, whole: int) -> str:
    """A count in per cent of the whole, as it stands in a table."""
    return f"{count / whole:.1%}" if whole else "-"
