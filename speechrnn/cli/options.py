"""Options that several verbs share."""

from typing import Annotated

import typer

ChannelOption = Annotated[
    str,
    typer.Option(
        "--channel",
        metavar="N|mean|loudest",
        help="Of sound with several channels: one by its number, from 1 on, their mean, or at each time the loudest",
    ),
]
