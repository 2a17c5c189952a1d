"""`speechrnn score`: what is heard, missed and imagined in long recordings, held against label tracks."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from speechrnn.cli import ModelOption, check_writable, report_errors
from speechrnn.cli.spotting import ThresholdOption, WordsOption, make_spotter
from speechrnn.errors import InputError

if TYPE_CHECKING:
    from speechrnn.card import Card
    from speechrnn.model import Model
    from speechrnn.scoring import Heard, Label, Score
    from speechrnn.spotter import Spotter


@dataclass(frozen=True)
class Recording:
    """A sound file and what is said in it, in seconds from its start."""

    path: Path
    labels: "tuple[Label, ...]"
    clips: "tuple[Label, ...]"  # intervals of whole clips, where a track of them stands beside the sound


@dataclass(frozen=True)
class IntervalAccuracy:
    """Of clips in a stream: how many get their label within it, and how many when cut out and heard by themselves."""

    clips: int = 0
    in_stream: int = 0
    cut_out: int = 0

    def __add__(self, other: "IntervalAccuracy") -> "IntervalAccuracy":
        return IntervalAccuracy(
            self.clips + other.clips, self.in_stream + other.in_stream, self.cut_out + other.cut_out
        )


def score(
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Sound files, or folders of them")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Label track of the one recording; x.txt beside x.wav if left out", show_default=False),
    ] = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="No command is said: every detection is a false accept")
    ] = False,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Of folders, the recordings that training leaves out (by their names)")
    ] = False,
    carry: Annotated[bool, typer.Option("--carry", help="Hear all recordings as one stream, without a reset")] = False,
    model: ModelOption = None,
    threshold: ThresholdOption = None,
    words: WordsOption = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the DET curve over thresholds into this file")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
) -> None:
    """Count hits, misses and false accepts in recordings whose words stand in a label track (Audacity's format).

    A word is hit by the first detection of it from its start to 0.75 s after its end. Where x.clips.txt stands beside
    x.wav (make_stream writes it), the clips in it also get a label each, within the stream and cut out of it.

    Example: speechrnn score stream.wav --threshold 0.8 --picture det.png
    """
    with report_errors():
        if labels and (no_labels or len(recordings) > 1 or recordings[0].is_dir()):
            raise InputError(f"--labels {labels}: goes with one sound file, and without --no-labels")
        if picture:
            if no_labels:
                raise InputError(f"--picture {picture}: a DET curve needs words that can be missed, so no --no-labels")
            check_writable(picture, "--picture")
            from speechrnn import pictures
        from speechrnn import scoring
        from speechrnn.model import Model

        found = [_recording(path, labels, no_labels) for path in _sound_files(recordings, held_out)]
        if not found:
            raise InputError(f"{recordings[0]}: holds no sound that is left out of training: leave out --held-out")
        recogniser = Model(model)
        spotter = make_spotter(recogniser, threshold, words)
        streams, accuracy = [], IntervalAccuracy()
        with _Progress(found) as progress:
            for group in [found] if carry else [[recording] for recording in found]:
                heard, starts = _hear(spotter, group, progress)
                streams.append(heard)
                for recording, start in zip(group, starts, strict=True):
                    accuracy += _interval_accuracy(recogniser, recording, heard.posteriors, start)
        result = scoring.judge(spotter, streams)
        if picture and not result.words:
            raise InputError(f"--picture {picture}: a DET curve needs words, and none is in the label tracks")
        (_print_json if as_json else _print_table)(result, accuracy)
        if picture:
            curve = scoring.det_curve(recogniser, streams, words=spotter.words)
            pictures.det([(t, *_rates(at)) for t, at in curve], _rates(result), picture)


def _rates(result: "Score") -> tuple[float, float]:
    """False accepts per hour, share of words missed."""
    return result.false_accepts_per_hour or 0.0, result.missed_share or 0.0


def _sound_files(paths: Iterable[Path], held_out: bool) -> Iterator[Path]:
    from speechrnn.audio import sound_files
    from speechrnn.training import corpus

    for path in paths:
        if path.is_dir():
            yield from corpus.held_out(sound_files(path)) if held_out else sound_files(path)
        else:
            yield path


def _recording(path: Path, labels: Path | None, no_labels: bool) -> Recording:
    """The file with its label tracks, which are read before the work begins."""
    from speechrnn.scoring import read_labels

    if not path.is_file():
        raise InputError(f"{path}: no such file: check the path")
    track, clips = labels or path.with_suffix(".txt"), path.with_suffix(".clips.txt")
    if not no_labels and not track.is_file():
        raise InputError(f"{track}: no such label track: name it with --labels, or say --no-labels")
    return Recording(
        path,
        () if no_labels else tuple(read_labels(track)),
        tuple(read_labels(clips)) if clips.is_file() else (),
    )


def _hear(spotter: "Spotter", group: Sequence[Recording], progress: "_Progress") -> "tuple[Heard, list[float]]":
    """The recordings as one stream from a fresh start, and the second in it where each of them begins."""
    from speechrnn import audio
    from speechrnn.scoring import Heard, Label

    spotter.reset()
    rows, labels, starts, samples = [], [], [], 0
    for recording in group:
        start = samples / audio.SAMPLE_RATE
        starts.append(start)
        labels += [Label(start + label.start, start + label.end, label.word) for label in recording.labels]
        for block in audio.blocks(recording.path):
            rows.append(spotter.posteriors(block))
            samples += len(block)
            progress.advance(len(block) / audio.SAMPLE_RATE)
    rows.append(spotter.posteriors(spotter.ending()))
    return Heard(np.concatenate(rows), tuple(labels), samples / audio.SAMPLE_RATE), starts


def _interval_accuracy(model: "Model", recording: Recording, posteriors: np.ndarray, start: float) -> IntervalAccuracy:
    """Label the clips of a recording, which begins at second `start` of the stream that `posteriors` are of.

    Clips that have a label which the model doesn't know are left out.
    """
    from speechrnn import audio

    clips = [clip for clip in recording.clips if clip.word in model.labels]
    if not clips:
        return IntervalAccuracy()
    sound = audio.load(recording.path)
    whole = IntervalAccuracy()
    for clip in clips:
        first, last = round(clip.start * audio.SAMPLE_RATE), round(clip.end * audio.SAMPLE_RATE)
        if not first < last <= len(sound):
            raise InputError(f"{recording.path}: its clip at {clip.start:g} s is empty or goes beyond the sound's end")
        rows = _rows_of(model.card, start + clip.start, start + clip.end)
        in_stream = model.decide(posteriors[rows]).label
        cut_out = model.decide(model.posteriors(sound[first:last])).label
        whole += IntervalAccuracy(1, in_stream == clip.word, cut_out == clip.word)
    return whole


def _rows_of(card: "Card", start: float, end: float) -> slice:
    """The blocks that a clip and the tail after it fill, as many as `Model.posteriors` has for it."""
    first = int(start / card.block_seconds + 1e-6)
    blocks = int(np.ceil((end - start) / card.block_seconds - 1e-6))
    return slice(first, first + blocks + card.blocks(card.tail_seconds))


class _Progress:
    """A bar on stderr, where somebody looks; it counts seconds of sound."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._shown = sys.stderr.isatty()
        if self._shown:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
            self._task = self._bar.add_task("listening", total=_total_seconds(recordings))

    def __enter__(self) -> "_Progress":
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self, seconds: float) -> None:
        if self._shown:
            self._bar.advance(self._task, seconds)


def _total_seconds(recordings: Iterable[Recording]) -> float | None:
    """By the headers; None where one can't be read or leaves it open (what is wrong with it is said later)."""
    import soundfile

    try:
        total = sum(soundfile.info(recording.path).duration for recording in recordings)
    except (soundfile.LibsndfileError, TypeError):
        return None
    return total if total < 1e9 else None


def _figures(result: "Score", accuracy: IntervalAccuracy) -> dict:
    whole: dict = {key: getattr(result, key) for key in ("words", "hits", "misses", "wrong", "doubles")}
    whole |= {key: getattr(result, key) for key in ("false_accepts", "hours", "missed_share", "double_share")}
    whole |= {
        key: getattr(result, key) for key in ("false_accepts_per_hour", "latency_median", "latency_p95", "latencies")
    }
    whole["per_word"] = {word: {**asdict(counts), "misses": counts.misses} for word, counts in result.counts.items()}
    if accuracy.clips:
        whole["clips"] = asdict(accuracy)
    return whole


def _print_json(result: "Score", accuracy: IntervalAccuracy) -> None:
    sys.stdout.write(json.dumps(_figures(result, accuracy), indent=2) + "\n")


def _print_table(result: "Score", accuracy: IntervalAccuracy) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("word")
    for header in ("said", "hits", "missed", "wrong", "doubles", "false accepts"):
        table.add_column(header, justify="right")
    rows = [*result.counts.items(), ("all", result.total)]
    for word, counts in rows:
        if word == "all":
            table.add_section()
        missed, doubles = _share(counts.misses, counts.said), _share(counts.doubles, counts.said)
        table.add_row(
            word, str(counts.said), str(counts.hits), missed, str(counts.wrong), doubles, str(counts.false_accepts)
        )
    console = Console()
    console.print(table)
    rate, median, p95 = result.false_accepts_per_hour, result.latency_median, result.latency_p95
    lines = [
        f"false accepts {result.false_accepts} in {result.hours:.3f} hours"
        + ("" if rate is None else f", {rate:.2f} per hour")
    ]
    if median is not None and p95 is not None:
        lines.append(f"latency from the end of a word: median {median:.2f} s, 95 % within {p95:.2f} s")
    if accuracy.clips:
        shares = [_share(right, accuracy.clips) for right in (accuracy.in_stream, accuracy.cut_out)]
        lines.append(f"labels of {accuracy.clips} clips: {shares[0]} right in the stream, {shares[1]} cut out of it")
    for line in lines:
        console.print(line, highlight=False)


def _share(count: int, whole: int) -> str:
    return f"{count / whole:.1%}" if whole else "-"
