"""The model card: what an ONNX file of ours says about itself, as JSON in its metadata."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ModelError

METADATA_KEY = "speechrnn"
SILENCE = "_silence_"  # the label of every sound without speech
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Card:
    """Everything that is needed to use the model, and everything that is known about it.

    `labels` are the columns of the graph's `probabilities`; `words` are those of them that are commands. The decision
    settings (`tail_seconds`, `smoothing_seconds`, `thresholds`, `hysteresis`, `refractory_seconds`) are defaults.
    """

    name: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    sample_rate: int  # Hz
    block_length: int  # samples
    state_size: int
    front_end: dict[str, Any]  # log-mel parameters, for information: they are in the graph
    network: dict[str, Any]
    tail_seconds: float  # digital silence after a clip, so that a word at its very end is heard out
    smoothing_seconds: float  # posteriors are averaged over this time
    thresholds: dict[str, float]  # for each word
    hysteresis: float  # share of its threshold that a word must fall below before it can be detected again
    refractory_seconds: float  # after a detection, nothing is detected
    training_data: tuple[str, ...]  # what the sound was, with its licence
    figures: dict[str, Any] = field(default_factory=dict)  # measured
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @property
    def block_seconds(self) -> float:
        return self.block_length / self.sample_rate

    def blocks(self, seconds: float) -> int:
        """Whole blocks in a stretch of time, at least one."""
        return max(1, round(seconds / self.block_seconds))

    def recurrent_stack(self, source: str) -> tuple[Any, ...]:
        """The cell (gru, lstm or rnn), and how many features, hidden units and layers.

        Raises
        ------
        ModelError
            if the card doesn't say; `source` is named
        """
        cell, *sizes = (self.network.get(key) for key in ("cell", "features", "hidden_size", "layers"))
        if cell not in ("gru", "lstm", "rnn") or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ModelError(f"{source}: its model card doesn't say which network it is: export the model again")
        return cell, *sizes


def from_json(text: str, source: str) -> Card:
    """Read and check a card; `source` is named in the error.

    Raises
    ------
    ModelError
        if it isn't a card, is of a format that this release doesn't know, or contradicts itself
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelError(f"{source}: its model card is not valid JSON: export the model again") from None
    if not isinstance(values, dict):
        raise ModelError(f"{source}: its model card is not a JSON object: export the model again")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{source}: its model card has format {version!r}, this release reads {FORMAT_VERSION}: update speechrnn"
        )
    needed = {f.name for f in fields(Card)} - {"figures", "format_version"}
    missing = sorted(needed - set(values))
    if missing:
        raise ModelError(f"{source}: its model card lacks {', '.join(missing)}: export the model again")
    try:
        known: dict[str, Any] = {f.name: values[f.name] for f in fields(Card) if f.name in values}
        for key, value in known.items():
            known[key] = tuple(value) if isinstance(value, list) else value
        card = Card(**known)
        sound = (
            card.labels
            and len(set(card.labels)) == len(card.labels)
            and set(card.words) == set(card.thresholds)
            and set(card.words) <= set(card.labels)
            and all(isinstance(text, str) for text in (card.name, *card.labels, *card.training_data))
            and all(isinstance(value, tuple) for value in (card.labels, card.words, card.training_data))
            and all(isinstance(value, dict) for value in (card.front_end, card.network, card.figures))
            and all(isinstance(size, int) and size > 0 for size in (card.block_length, card.state_size))
            and card.sample_rate == SAMPLE_RATE
            and all(0 < threshold <= 1 for threshold in card.thresholds.values())
            and 0 <= card.hysteresis <= 1
            and all(0 <= s < math.inf for s in (card.tail_seconds, card.smoothing_seconds, card.refractory_seconds))
        )
    except (TypeError, AttributeError):
        sound = False
    if not sound:
        raise ModelError(
            f"{source}: its model card contradicts itself (labels, words or sizes): export the model again"
        )
    return card
