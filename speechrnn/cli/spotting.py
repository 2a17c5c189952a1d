"""What the verbs that spot words share: their options, and a Spotter made of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from speechrnn.errors import InputError

if TYPE_CHECKING:
    from speechrnn.model import Model
    from speechrnn.spotter import Spotter

ThresholdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        "-t",
        metavar="[WORD=]P",
        help="Posterior from which a word is detected: 0.8 for all words, stop=0.9 for one; may be repeated. "
        "Left out: the model's own",
        show_default=False,
    ),
]
WordsOption = Annotated[
    str | None,
    typer.Option("--words", "-w", metavar="WORD,...", help="Listen for these words only", show_default=False),
]


def make_spotter(model: "Model", threshold: list[str] | None, words: str | None) -> "Spotter":
    """The spotter that the options ask for.

    Raises
    ------
    InputError
        naming the option
    """
    from speechrnn.spotter import Spotter

    common: float | None = None
    single: dict[str, float] = {}
    for text in threshold or ():
        word, equals, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise InputError(f"--threshold {text}: write it as 0.8, or as stop=0.9 for one word") from None
        if equals:
            single[word.strip()] = value
        else:
            common = value
    chosen = None if words is None else [word.strip() for word in words.split(",") if word.strip()]
    return Spotter(model, threshold=common, thresholds=single, words=chosen)
