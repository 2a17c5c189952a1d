"""What was counted, as JSON has it and as a table on a terminal."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from speechrnn.terminal import plain_console

if TYPE_CHECKING:
    from speechrnn.evaluation.recordings import IntervalAccuracy
    from speechrnn.evaluation.scoring import Score


def confusion_figures(counts: np.ndarray, labels: tuple[str, ...]) -> list[dict]:
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


def print_confusions(counts: np.ndarray, labels: tuple[str, ...]) -> None:
    """A row for each label, and the accuracy of all; `counts` [said, heard]."""
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
    """All that is known of the recordings, as JSON has it; of clips only where there are some."""
    whole: dict = {key: getattr(result, key) for key in ("words", "hits", "misses", "wrong", "doubles")}
    whole |= {key: getattr(result, key) for key in ("false_accepts", "hours", "missed_share", "double_share")}
    whole |= {
        key: getattr(result, key) for key in ("false_accepts_per_hour", "latency_median", "latency_p95", "latencies")
    }
    whole |= {key: getattr(result, key) for key in ("probability_median", "peak_median")}
    whole["per_word"] = {word: {**asdict(counts), "misses": counts.misses} for word, counts in result.counts.items()}
    if accuracy.clips:
        whole["clips"] = asdict(accuracy)
    return whole


def share_of(count: int, whole: int) -> str:
    """As it stands in a table."""
    return f"{count / whole:.1%}" if whole else "-"
