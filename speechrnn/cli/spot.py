"""`speechrnn spot`: the words in recordings of any length."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from speechrnn import labels
from speechrnn.channels import Channel, parse
from speechrnn.cli import mirror
from speechrnn.cli.options import ChannelOption
from speechrnn.cli.spotting import (
    HysteresisOption,
    RefractoryOption,
    SmoothingOption,
    ThresholdOption,
    WordsOption,
    make_spotter,
)
from speechrnn.errors import AudioError, InputError
from speechrnn.files import make_folder, write
from speechrnn.programs import ModelOption, OverwriteOption, report_errors, say
from speechrnn.progress import SoundProgress
from speechrnn.terminal import in_cell, in_line
from speechrnn.text import printable

if TYPE_CHECKING:
    from speechrnn.decision import Detection
    from speechrnn.spotter import Spotter

Found = tuple[str, "Detection"]  # recording, and a word in it
SHOWN_SECONDS = 0.75  # how long a subtitle stays, from the moment of detection
WORD_SECONDS = 0.5  # a label track marks a stretch; a detection is a moment at the end of a word


class Format(StrEnum):
    """How detections are written."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"
    audacity = "audacity"
    srt = "srt"
    vtt = "vtt"


def spot(
    recordings: Annotated[
        list[str], typer.Argument(metavar="RECORDING...", help="Files, folders, globs, or - for a sound file on stdin")
    ],
    format: Annotated[
        Format, typer.Option("--format", "-f", help="audacity: a label track; srt, vtt: subtitles")
    ] = Format.table,
    output_folder: Annotated[
        Path | None,
        typer.Option(
            "--output-folder",
            "-o",
            help="A file for each recording into this folder, instead of stdout; below it, folders as those of the "
            "recordings. What is there already stays, and nothing is done, without --overwrite",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    threshold: ThresholdOption = None,
    words: WordsOption = None,
    smoothing: SmoothingOption = None,
    refractory: RefractoryOption = None,
    hysteresis: HysteresisOption = None,
    channel: ChannelOption = "mean",
    model: ModelOption = None,
) -> None:
    """Find the words in recordings of any length, with their times: those that `listen` would have detected.

    Times are seconds from the start of the recording to the end of the word, where its posterior reached the threshold.
    The number in the table is the peak of the posterior: its highest value from there until the next word could be
    detected. jsonl and csv have both: `probability`, which reached the threshold, and `peak`.

    A recording that can't be used is reported and the rest go on; the exit code is then 1, or 2 if none could be used.
    Folders are read as `classify` reads them.

    Example: speechrnn spot meeting.flac --format srt --threshold 0.9 > meeting.srt

    Example: speechrnn spot recordings/ --format audacity --output-folder tracks
    """
    with report_errors():
        from speechrnn.model import Model

        taken = parse(channel)
        recogniser = Model(model)
        spotter = make_spotter(recogniser, threshold, words, smoothing, refractory, hysteresis)
        files, found_in, failures = _find_all(recordings)
        if output_folder is None and len(files) > 1 and format in (Format.audacity, Format.srt, Format.vtt):
            raise InputError(f"--format {format.value}: is for one recording; use --output-folder for {len(files)}")
        if output_folder is not None and not output_folder.is_dir():
            raise InputError(f"--output-folder {output_folder}: there is no such folder: make it first")
        if overwrite and output_folder is None:
            raise InputError("--overwrite: is about the files in --output-folder: name it")
        trouble: list[str] = []
        if output_folder is None:
            WRITERS[format](_all_found(spotter, files, trouble, taken), sys.stdout)
        else:
            targets = mirror.mirrored(list(zip(files, found_in, strict=True)), output_folder, SUFFIXES[format])
            mirror.check(targets, files, output_folder, overwrite, recogniser.path)
            _write_files(spotter, files, targets, format, overwrite, trouble, taken)
        failures += len(trouble)
        if failures:
            raise typer.Exit(1 if len(trouble) < len(files) else 2)


def _find_all(recordings: Iterable[str]) -> tuple[list[str], list[str | None], int]:
    """The sound files that the arguments name, the folder that each was found in, and how many arguments named none."""
    from speechrnn.cli.classify import find

    files: list[str] = []
    found_in: list[str | None] = []
    failures = 0
    for argument in recordings:
        found, failed = find([argument])
        files += found
        found_in += [argument if os.path.isdir(argument) else None] * len(found)
        failures += failed
    return files, found_in, failures


def _all_found(
    spotter: "Spotter", files: Iterable[str], trouble: list[str], channel: Channel = "mean"
) -> Iterator[Found]:
    """Detections of one recording after the other; one that can't be used is reported and noted in `trouble`."""
    for name in files:
        try:
            yield from ((name, detection) for detection in detections(spotter, name, channel))
        except AudioError as error:
            say(str(error))
            trouble.append(name)


def detections(spotter: "Spotter", recording: str, channel: Channel = "mean") -> Iterator["Detection"]:
    """The words in a recording, from a fresh state; it is read blockwise, so it may be of any length.

    A detection is yielded when its peak is known: after its refractory time, or at the end. `recording` is a path, or -
    for stdin; raises AudioError if it can't be used.
    """
    from speechrnn import audio
    from speechrnn.cli.stdin import stdin_file

    spotter.reset()
    source = stdin_file() if recording == "-" else recording
    found: list[Detection] = []
    name, length = printable(Path(recording).name), lambda: None if recording == "-" else audio.seconds_of(recording)
    with SoundProgress(name, length) as progress:
        for piece in audio.blocks(source, channel=channel):
            found += spotter.process(piece)
            while found and found[0] is not spotter.pending:
                yield found.pop(0)
            progress.advance(len(piece) / audio.SAMPLE_RATE)
    yield from [*found, *spotter.finish()]


def _write_files(
    spotter: "Spotter",
    files: Iterable[str],
    targets: Iterable[Path],
    format: Format,
    overwrite: bool,
    trouble: list[str],
    channel: Channel,
) -> None:
    for name, target in zip(files, targets, strict=True):
        found = list(_all_found(spotter, [name], trouble, channel))
        if name in trouble:
            continue
        text = io.StringIO(newline="")
        WRITERS[format](iter(found), text)
        make_folder(target.parent)
        content = text.getvalue().encode(errors="surrogateescape")  # file names that are no UTF-8 stay as they are
        write(target, content, overwrite=overwrite)
        say(f"{target}: {len(found)} detections")


def _write_jsonl(found: Iterator[Found], file: TextIO) -> None:
    for path, d in found:
        record = {"path": path, "time": d.time, "label": d.label, "probability": round(d.probability, 6)}
        record["peak"] = round(d.peak, 6)
        file.write(json.dumps(record) + "\n")


def _write_csv(found: Iterator[Found], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "time", "label", "probability", "peak"])
    writer.writerows(
        (in_cell(path, file), f"{d.time:.2f}", d.label, f"{d.probability:.6f}", f"{d.peak:.6f}") for path, d in found
    )


def _write_table(found: Iterator[Found], file: TextIO) -> None:
    for path, d in found:
        file.write(f"{in_line(path, file)}  {d.time:9.2f} s  {d.label:<8} {d.peak:.3f}\n")


def _write_audacity(found: Iterator[Found], file: TextIO) -> None:
    for _, d in found:
        file.write(labels.audacity(labels.Label(max(0.0, d.time - WORD_SECONDS), d.time, d.label), decimals=3))


def _subtitles(found: Iterator[Found]) -> Iterator[labels.Label]:
    return (labels.Label(d.time, d.time + SHOWN_SECONDS, d.label) for _, d in found)


def _write_srt(found: Iterator[Found], file: TextIO) -> None:
    file.writelines(labels.srt(_subtitles(found)))


def _write_vtt(found: Iterator[Found], file: TextIO) -> None:
    file.writelines(labels.vtt(_subtitles(found)))


WRITERS: dict[Format, Callable[[Iterator[Found], TextIO], None]] = {
    Format.table: _write_table,
    Format.jsonl: _write_jsonl,
    Format.csv: _write_csv,
    Format.audacity: _write_audacity,
    Format.srt: _write_srt,
    Format.vtt: _write_vtt,
}
SUFFIXES = {
    **{format: format.value for format in (Format.jsonl, Format.csv, Format.srt, Format.vtt)},
    Format.table: "txt",
    Format.audacity: "txt",
}
