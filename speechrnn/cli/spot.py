"""`speechrnn spot`: the words in recordings of any length."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from speechrnn.cli import ModelOption, report_errors, say
from speechrnn.cli.spotting import ThresholdOption, WordsOption, make_spotter
from speechrnn.errors import AudioError, InputError

if TYPE_CHECKING:
    from speechrnn.spotter import Detection, Spotter

Found = tuple[str, "Detection"]  # recording, what was heard in it
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
        typer.Option("--output-folder", "-o", help="A file for each recording into this folder, instead of stdout"),
    ] = None,
    threshold: ThresholdOption = None,
    words: WordsOption = None,
    model: ModelOption = None,
) -> None:
    """Find the words in recordings of any length: what `listen` would have heard, and when.

    Times are seconds from the start of the recording to the end of the word. A recording that can't be used is reported
    and the rest go on; the exit code is then 1, or 2 if none could be used. Folders are read as `classify` reads them.

    Example: speechrnn spot meeting.flac --format srt --threshold 0.9 > meeting.srt
    """
    with report_errors():
        from speechrnn.cli.classify import find
        from speechrnn.model import Model

        spotter = make_spotter(Model(model), threshold, words)
        files, failures = find(recordings)
        if output_folder is None and len(files) > 1 and format in (Format.audacity, Format.srt, Format.vtt):
            raise InputError(f"--format {format.value}: is for one recording; use --output-folder for {len(files)}")
        if output_folder is not None and not output_folder.is_dir():
            raise InputError(f"--output-folder {output_folder}: there is no such folder: make it first")
        trouble: list[str] = []
        if output_folder is None:
            WRITERS[format](_all_found(spotter, files, trouble), sys.stdout)
        else:
            _write_files(spotter, files, output_folder, format, trouble)
        failures += len(trouble)
        if failures:
            raise typer.Exit(1 if len(trouble) < len(files) else 2)


def _all_found(spotter: "Spotter", files: Iterable[str], trouble: list[str]) -> Iterator[Found]:
    """Detections of one recording after the other; one that can't be used is reported and noted in `trouble`."""
    for name in files:
        try:
            yield from ((name, detection) for detection in detections(spotter, name))
        except AudioError as error:
            say(str(error))
            trouble.append(name)


def detections(spotter: "Spotter", recording: str) -> Iterator["Detection"]:
    """What `spotter` hears in a recording, from a fresh state; read blockwise, so it may be of any length."""
    from speechrnn import audio

    spotter.reset()
    source = sys.stdin.buffer if recording == "-" else recording
    for piece in _with_progress(audio.blocks(source), recording):
        yield from spotter.process(piece)
    yield from spotter.finish()


def _with_progress(pieces: Iterator, recording: str) -> Iterator:
    """Hand pieces of sound on, with a bar of the seconds heard where somebody looks."""
    if not sys.stderr.isatty():
        yield from pieces
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from speechrnn.audio import SAMPLE_RATE, seconds_of

    seconds = None if recording == "-" else seconds_of(recording)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} s"), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        task = bar.add_task(Path(recording).name, total=seconds)
        for piece in pieces:
            yield piece
            bar.advance(task, len(piece) / SAMPLE_RATE)


def _write_files(spotter: "Spotter", files: Iterable[str], folder: Path, format: Format, trouble: list[str]) -> None:
    for name in files:
        found = list(_all_found(spotter, [name], trouble))
        if name in trouble:
            continue
        target = folder / f"{'stdin' if name == '-' else Path(name).stem}.{SUFFIXES[format]}"
        beside = target.with_name(target.name + ".part")
        try:
            with beside.open("w", newline="", encoding="utf-8") as file:
                WRITERS[format](iter(found), file)
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise InputError(f"{target}: can't be written ({error.strerror}): name another place") from None
        say(f"{target}: {len(found)} detections")


def _write_jsonl(found: Iterator[Found], file: TextIO) -> None:
    for path, d in found:
        record = {"path": path, "time": d.time, "label": d.label, "probability": round(d.probability, 6)}
        file.write(json.dumps(record) + "\n")


def _write_csv(found: Iterator[Found], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "time", "label", "probability"])
    writer.writerows((path, f"{d.time:.2f}", d.label, f"{d.probability:.6f}") for path, d in found)


def _write_table(found: Iterator[Found], file: TextIO) -> None:
    for path, d in found:
        file.write(f"{path}  {d.time:9.2f} s  {d.label:<8} {d.probability:.3f}\n")


def _write_audacity(found: Iterator[Found], file: TextIO) -> None:
    for _, d in found:
        file.write(f"{max(0.0, d.time - WORD_SECONDS):.3f}\t{d.time:.3f}\t{d.label}\n")


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{comma}{rest % 1000:03}"


def _write_srt(found: Iterator[Found], file: TextIO) -> None:
    for number, (_, d) in enumerate(found, start=1):
        file.write(f"{number}\n{_clock(d.time, ',')} --> {_clock(d.time + SHOWN_SECONDS, ',')}\n{d.label}\n\n")


def _write_vtt(found: Iterator[Found], file: TextIO) -> None:
    file.write("WEBVTT\n\n")
    for _, d in found:
        file.write(f"{_clock(d.time, '.')} --> {_clock(d.time + SHOWN_SECONDS, '.')}\n{d.label}\n\n")


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
