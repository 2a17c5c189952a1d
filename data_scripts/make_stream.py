"""python -m data_scripts.make_stream FOLDER OUT.wav: a stream of clips with reference labels (`evaluation.streams`)."""

from pathlib import Path
from typing import Annotated

import typer

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import InputError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.partition import Partition
from speechrnn.evaluation.streams import FORMATS, held_out_noise, make_stream, save, tracks
from speechrnn.files import check_free, check_place
from speechrnn.programs import OverwriteOption, report_errors


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder for each word, with sound files in it")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Sound file to write, .wav or .flac")],
    partition: Annotated[Partition, typer.Option(help="Clips of these speakers")] = Partition.validation,
    words: Annotated[str, typer.Option("--words", "-w", metavar="WORD,...", help="Words that count as commands")] = (
        ",".join(corpus.TEN_WORDS)
    ),
    gap: Annotated[tuple[float, float], typer.Option(help="Shortest and longest gap between clips, s")] = (0.3, 2.0),
    minutes: Annotated[
        float | None, typer.Option(help="Length at most; all clips if left out", show_default=False)
    ] = None,
    snr: Annotated[
        float | None, typer.Option(help="Noise through all of it, so many dB below the words", show_default=False)
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option(help="Folder of more noise; its held-out recordings are used", show_default=False),
    ] = None,
    hiss: Annotated[
        float | None,
        typer.Option(help="White noise in the gaps, dB below full scale: -60 is faint", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For order, gaps and noise")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make a long recording of clips, with label tracks of what is said in it when.

    Noise is the last fifth of each recording of _background_noise_, and held-out recordings of --noise.

    Example: python -m data_scripts.make_stream data/speech_commands stream.wav --snr 10 --noise data/noise
    """
    with report_errors():
        check_place(output, "OUT")
        if output.suffix.lower() not in FORMATS:
            raise InputError(f"OUT {output}: can't be written in this format: use .wav or .flac")
        if not 0.0 <= gap[0] <= gap[1] <= 3600.0:
            raise InputError(f"--gap {gap[0]:g} {gap[1]:g}: give the shortest and the longest gap, 0 s to an hour")
        if minutes is not None and not 0.0 < minutes <= 6000.0:
            raise InputError(f"--minutes {minutes:g}: must be above 0 and at most 6000")
        if snr is not None and not -100.0 <= snr <= 100.0:
            raise InputError(f"--snr {snr:g}: must be -100 to 100 dB")
        if noise is not None and snr is None:
            raise InputError(f"--noise {noise}: say with --snr how loud it shall be")
        if hiss is not None and not -120.0 <= hiss <= -10.0:
            raise InputError(f"--hiss {hiss:g}: must be -120 to -10 dB, of full scale")
        check_free([output, *tracks(output)], "OUT", overwrite, folder, noise)
        clips = corpus.evaluation_clips(folder, corpus.task_labels(words), partition.value, seed)
        pieces = [] if snr is None else held_out_noise(folder, noise, seed)
        limit = None if minutes is None else 60.0 * minutes
        samples, spoken, intervals = make_stream(
            clips, seed=seed, gap=gap, seconds=limit, noise=pieces, snr=snr, hiss=hiss
        )
        save(output, samples, spoken, intervals, overwrite)
        length = len(samples) / SAMPLE_RATE / 60.0
        typer.echo(f"{output}: {length:.1f} minutes, {len(spoken)} words, {len(intervals)} clips")


if __name__ == "__main__":
    typer.run(main)
