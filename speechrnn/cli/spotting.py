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
SmoothingOption = Annotated[
    float | None,
    typer.Option(
        "--smoothing",
        metavar="SECONDS",
        help="Time over which posteriors are averaged, 0 to 10. Left out: the model's own",
        show_default=False,
    ),
]
RefractoryOption = Annotated[
    float | None,
    typer.Option(
        "--refractory",
        metavar="SECONDS",
        help="Time after a detection in which nothing is detected, 0 to 3600. Left out: the model's own",
        show_default=False,
    ),
]
HysteresisOption = Annotated[
    float | None,
    typer.Option(
        "--hysteresis",
        metavar="SHARE",
        help="Share of its threshold that a word must fall below to be detected again, 0 to 1. Left out: the model's "
        "own",
        show_default=False,
    ),
]


def decision_settings(
    smoothing: float | None, refractory: float | None, hysteresis: float | None
) -> dict[str, float | None]:
    """Options as the settings of a `Detector`; raises InputError that names one that is out of its range."""
    from speechrnn.card import LIMITS

    settings = {"smoothing_seconds": smoothing, "refractory_seconds": refractory, "hysteresis": hysteresis}
    for name, value in settings.items():
        least, most = LIMITS[name]
        if value is not None and not least <= value <= most:
            option, _, unit = name.partition("_")
            raise InputError(f"--{option} {value:g}: must be {least:g} to {most:g}{unit and ' '}{unit}")
    return settings


def make_spotter(
    model: "Model",
    threshold: list[str] | None,
    words: str | None,
    smoothing: float | None = None,
    refractory: float | None = None,
    hysteresis: float | None = None,
) -> "Spotter":
    """The spotter that the options ask for.

    Raises
    ------
    InputError
        naming the option
    """
    from speechrnn.spotter import Spotter

    settings = decision_settings(smoothing, refractory, hysteresis)

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
    return Spotter(model, threshold=common, thresholds=single, words=chosen, **settings)
