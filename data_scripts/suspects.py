"""python -m data_scripts.suspects FOLDER OUT.txt: likely label errors, by a model.

Crowd-sourced clips are sometimes mislabelled, cut off or empty. A model that was trained on all of them (or, better,
on others) finds these: the posterior of their label is close to zero. Training excludes the clips of such a list
(`data.exclude`); validation never does.
"""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import AudioError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.partition import LIST_NAMES, Partition
from speechrnn.files import check_writable, write
from speechrnn.model import Model
from speechrnn.programs import ModelOption, report_errors
from speechrnn.progress import with_progress


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder for each word, with sound files in it")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Text file to write, a path in FOLDER a line")],
    model: ModelOption = None,
    partition: Annotated[Partition, typer.Option(help="Clips of these speakers")] = Partition.training,
    below: Annotated[float, typer.Option(min=0.0, max=1.0, help="Posterior of the own label")] = 0.05,
) -> None:
    """List clips whose label has a low posterior, to listen to or to exclude from training.

    Example: python -m data_scripts.suspects data/speech_commands suspects.txt
    """
    with report_errors():
        recogniser = Model(model)
        check_writable(output, "OUT", recogniser.path, folder, *(folder / name for name in LIST_NAMES.values()))
        clips = corpus.word_clips(folder, recogniser.labels, partition.value)
        results = with_progress(recogniser.classify_many([clip.path for clip in clips]), len(clips))
        found = [
            clip.path.relative_to(folder).as_posix()
            for clip, result in zip(clips, results, strict=True)
            if not isinstance(result, AudioError) and result.posterior[clip.label] < below
        ]
        write(output, "".join(f"{path}\n" for path in found).encode(errors="surrogateescape"))
        typer.echo(f"{output}: {len(found)} of {len(clips)} clips")


if __name__ == "__main__":
    typer.run(main)
