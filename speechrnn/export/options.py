"""Options of the commands that compare models on clips."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.evaluation.partition import Partition

ClipsOption = Annotated[
    Path | None, typer.Option(help="Compare on these clips, a folder for each word; examples/ if left out")
]
PartitionOption = Annotated[
    Partition | None, typer.Option(help="Of --clips, only those of these speakers, as speechrnn evaluate")
]
