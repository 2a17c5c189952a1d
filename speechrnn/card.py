"""The model card: what an ONNX file of ours says about itself, as JSON in its metadata."""

import json
import reprlib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import InputError, ModelError
from speechrnn.text import has_control, label_fault, name_fault

if TYPE_CHECKING:
    import onnx

METADATA_KEY = "speechrnn"
SILENCE = "_silence_"  # the label of every sound without speech
FORMAT_VERSION = 1

# What a card is written with where nothing else is asked for.
TAIL_SECONDS = 0.4
SMOOTHING_BLOCKS = 5  # 0.1 s of blocks of 20 ms
THRESHOLD = 0.8
HYSTERESIS = 0.5
REFRACTORY_SECONDS = 0.5

# Far above what any model needs, and cheap all the same.
MOST_CHARACTERS = 1_000_000
MOST_LABELS = 1000
MOST_WEIGHTS = 2**26  # of a recurrent stack, before they are multiplied by its gates
DEEPEST = 16  # levels of lists and tables in each other
LIMITS: dict[str, tuple[float, float]] = {
    "block_length": (32, 2**14),
    "state_size": (1, 2**23),
    "tail_seconds": (0, 10),
    "smoothing_seconds": (0, 10),
    "hysteresis": (0, 1),
    "refractory_seconds": (0, 3600),
}


def whole_blocks(seconds: float, block_length: int) -> int:
    """The whole number of blocks [samples at 16 kHz] that is closest to a time; of two as close, the even one."""
    return round(seconds * SAMPLE_RATE / block_length)


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
    tail_seconds: float  # digital silence after a clip, so that the posterior of a word at its very end can rise
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

    @property
    def tail_blocks(self) -> int:
        """How many blocks of digital silence follow a sound, after its last block is filled with silence."""
        return whole_blocks(self.tail_seconds, self.block_length)

    @property
    def smoothing_blocks(self) -> int:
        """How many blocks a smoothed posterior is the mean of, at least one."""
        return max(1, whole_blocks(self.smoothing_seconds, self.block_length))

    @property
    def refractory_blocks(self) -> int:
        """For how many blocks nothing is detected, the one of the detection among them."""
        return whole_blocks(self.refractory_seconds, self.block_length)

    def with_decision(self, **settings: float | None) -> "Card":
        """The card with other settings of the decision, by their names; None leaves one as it is.

        Raises
        ------
        InputError
            if one is outside of its LIMITS
        """
        given = {name: value for name, value in settings.items() if value is not None}
        for name, value in given.items():
            least, most = LIMITS[name]
            if not least <= value <= most:
                raise InputError(f"{name} {value:g}: must be {least:g} to {most:g}")
        return replace(self, **given) if given else self  # type: ignore[arg-type]

    def recurrent_stack(self, source: str) -> tuple[Any, ...]:
        """The cell (gru, lstm or rnn), and how many features, hidden units and layers.

        Raises
        ------
        ModelError
            if the card doesn't say; `source` is named
        """
        cell, *sizes = (self.network.get(key) for key in ("cell", "features", "hidden_size", "layers"))
        whole = [size for size in sizes if type(size) is int and size > 0]
        if cell in ("gru", "lstm", "rnn") and len(whole) == 3:
            features, hidden, layers = whole
            if layers * hidden * (features + hidden) <= MOST_WEIGHTS:
                return cell, features, hidden, layers
        raise ModelError(f"{source}: its model card doesn't say which network it is: export the model again")


def from_json(text: str, source: str) -> Card:
    """Read and check a card; `source` is named in the error.

    Raises
    ------
    ModelError
        if it isn't a card, is of a format that this release doesn't know, contradicts itself, or asks for more than
        any model needs: whatever a card says, what is done with it is cheap, and its names do nothing to a terminal
    """
    if len(text) > MOST_CHARACTERS:
        raise ModelError(
            f"{source}: its model card is longer than {MOST_CHARACTERS} characters: export the model again"
        )
    try:
        values = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):
        raise ModelError(f"{source}: its model card is not valid JSON: export the model again") from None
    if not isinstance(values, dict):
        raise ModelError(f"{source}: its model card is not a JSON object: export the model again")
    version = values.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelError(
            f"{source}: its model card has format {reprlib.repr(version)}, this release reads {FORMAT_VERSION}: "
            "update speechrnn"
        )
    needed = {f.name for f in fields(Card)} - {"figures", "format_version"}
    missing = sorted(needed - set(values))
    if missing:
        raise ModelError(f"{source}: its model card lacks {', '.join(missing)}: export the model again")
    known: dict[str, Any] = {f.name: values[f.name] for f in fields(Card) if f.name in values}
    fault = _fault(known)
    if fault:
        raise ModelError(f"{source}: its model card contradicts itself ({fault}): export the model again")
    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
    return Card(**made)


def check(card: Card, source: str) -> None:
    """See that a card that is about to be written would be read.

    Raises
    ------
    ModelError
        as `from_json` does
    """
    try:
        text = card.to_json()
    except (TypeError, ValueError, RecursionError):
        raise ModelError(f"{source}: what it says of itself is no model card: train it again") from None
    from_json(text, source)


def file_content(proto: "onnx.ModelProto", card: Card, source: str) -> bytes:
    """The bytes of an ONNX file: the graph, checked, with this card among its metadata; `source` is named in the error.

    Raises
    ------
    ModelError
        as `from_json` does
    """
    import onnx

    check(card, source)
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, kept | {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _fault(card: dict[str, Any]) -> str:
    """What is wrong with the values of a card, in a few words; empty if nothing is."""
    for key, value in card.items():
        wrong = _foreign(value)
        if wrong:
            return f"{key}: {wrong}"
    if not isinstance(card["name"], str):
        return "name: is no text"
    for key in ("labels", "words", "training_data"):
        if not isinstance(card[key], list) or not all(isinstance(text, str) for text in card[key]):
            return f"{key}: is no list of texts"
    for key in ("front_end", "network", "thresholds", "figures"):
        if not isinstance(card.get(key, {}), dict):
            return f"{key}: is no table"
    labels, words, thresholds = card["labels"], card["words"], card["thresholds"]
    if not 1 <= len(labels) <= MOST_LABELS or any(len(set(names)) != len(names) for names in (labels, words)):
        return f"labels: must be 1 to {MOST_LABELS}, and different; words too"
    wrong = name_fault(card["name"]) or next(filter(None, map(label_fault, labels)), "")
    if wrong:
        return wrong
    if not set(words) <= set(labels) or set(words) != set(thresholds):
        return "words: must be among the labels, each with a threshold"
    if type(card["sample_rate"]) is not int or card["sample_rate"] != SAMPLE_RATE:
        return f"sample_rate: must be {SAMPLE_RATE}"
    for key, (least, most) in LIMITS.items():
        whole = key in ("block_length", "state_size")
        if isinstance(card[key], bool) or not isinstance(card[key], int if whole else (int, float)):
            return f"{key}: is no {'whole ' if whole else ''}number"
        if not least <= card[key] <= most:
            return f"{key}: must be {least:g} to {most:g}"
    for word, threshold in thresholds.items():
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            return f"threshold of {word}: must be above 0 and at most 1"
    return ""


def _foreign(value: Any, depth: int = 0) -> str:
    """What no card has anywhere: control characters, numbers that aren't finite, huge ones, deep nesting."""
    if isinstance(value, str):
        return "has a control character" if has_control(value) else ""
    if isinstance(value, int | float):
        return "" if abs(value) < 2**63 else "is NaN, infinite or huge"  # false for NaN
    if depth == DEEPEST:
        return f"is nested deeper than {DEEPEST} levels"
    inner = (*value, *value.values()) if isinstance(value, dict) else value or ()
    return next(filter(None, (_foreign(item, depth + 1) for item in inner)), "")
