"""`speechrnn score`: hits, misses and false accepts in long recordings, by their label tracks."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechrnn.channels import parse
from speechrnn.cli.options import ChannelOption
from speechrnn.cli.spotting import (
    HysteresisOption,
    RefractoryOption,
    SmoothingOption,
    ThresholdOption,
    WordsOption,
    make_spotter,
)
from speechrnn.errors import InputError
from speechrnn.evaluation.tables import score_figures, share_of
from speechrnn.files import check_writable
from speechrnn.programs import ModelOption, report_errors

if TYPE_CHECKING:
    from speechrnn.evaluation.recordings import IntervalAccuracy
    from speechrnn.evaluation.scoring import Score


SURE = 0.8  # a posterior from which people take a word for certain


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
    carry: Annotated[bool, typer.Option("--carry", help="Take all recordings as one stream, without a reset")] = False,
    model: ModelOption = None,
    threshold: ThresholdOption = None,
    words: WordsOption = None,
    smoothing: SmoothingOption = None,
    refractory: RefractoryOption = None,
    hysteresis: HysteresisOption = None,
    channel: ChannelOption = "mean",
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the DET curve over thresholds into this file")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
) -> None:
    """Count hits, misses and false accepts in recordings whose words stand in a label track (Audacity's format).

    A word is hit by the first detection of it from its start to 0.75 s after its end. The posterior of the hits is
    given twice: in the block that reached the threshold, as `listen` prints it, and at its peak, as `spot` does.
    Where x.clips.txt stands beside x.wav (make_stream writes it), the clips in it also get a label each, within the
    stream and cut out of it.

    Example: speechrnn score stream.wav --threshold 0.8 --picture det.png
    """
    with report_errors():
        taken = parse(channel)
        if labels and (no_labels or len(recordings) > 1 or recordings[0].is_dir()):
            raise InputError(f"--labels {labels}: goes with one sound file, and without --no-labels")
        if picture:
            if no_labels:
                raise InputError(f"--picture {picture}: a DET curve needs words that can be missed, so no --no-labels")
            check_writable(picture, "--picture", *recordings, labels, model)
            from speechrnn import pictures

            pictures.kind(picture)
        from speechrnn.evaluation import scoring
        from speechrnn.evaluation.recordings import (
            IntervalAccuracy,
            cache_posteriors,
            interval_accuracy,
            read,
            sound_files,
            total_seconds,
        )
        from speechrnn.model import Model
        from speechrnn.progress import SoundProgress

        found = [read(path, labels, no_labels) for path in sound_files(recordings, held_out)]
        if not found:
            raise InputError(f"{recordings[0]}: holds no sound that is left out of training: leave out --held-out")
        recogniser = Model(model)
        spotter = make_spotter(recogniser, threshold, words, smoothing, refractory, hysteresis)
        streams, accuracy = [], IntervalAccuracy()
        with SoundProgress("listening", lambda: total_seconds(found)) as progress:
            for group in [found] if carry else [[recording] for recording in found]:
                cached, starts = cache_posteriors(spotter, group, progress.advance, taken)
                streams.append(cached)
                for recording, start in zip(group, starts, strict=True):
                    accuracy += interval_accuracy(recogniser, recording, cached.posteriors, start, taken)
        result = scoring.judge(spotter, streams)
        if picture and not result.words:
            raise InputError(f"--picture {picture}: a DET curve needs words, and none is in the label tracks")
        (_print_json if as_json else _print_table)(result, accuracy)
        if picture:
            curve = scoring.det_curve(spotter.card, streams, words=spotter.words)
            pictures.det([(t, *_rates(at)) for t, at in curve], _rates(result), picture)


def _rates(result: "Score") -> tuple[float, float]:
    """False accepts per hour, and miss rate."""
    return result.false_accepts_per_hour or 0.0, result.miss_rate or 0.0


def _print_json(result: "Score", accuracy: "IntervalAccuracy") -> None:
    sys.stdout.write(json.dumps(score_figures(result, accuracy), indent=2) + "\n")


def _print_table(result: "Score", accuracy: "IntervalAccuracy") -> None:
    from rich.table import Table

    from speechrnn.terminal import plain_console

    table = Table("word")
    for header in ("words", "hits", "missed", "wrong", "duplicates", "false accepts"):
        table.add_column(header, justify="right")
    rows = [*result.counts.items(), ("all", result.total)]
    for word, counts in rows:
        if word == "all":
            table.add_section()
        missed, twice = (share_of(count, counts.references) for count in (counts.misses, counts.duplicates))
        wrong, false_accepts = str(counts.substitutions), str(counts.false_accepts)
        table.add_row(word, str(counts.references), str(counts.hits), missed, wrong, twice, false_accepts)
    console = plain_console()
    console.print(table)
    rate, median, p95 = result.false_accepts_per_hour, result.latency_median, result.latency_p95
    lines = [
        f"false accepts {result.false_accepts} in {result.hours:.3f} hours"
        + ("" if rate is None else f", {rate:.2f} per hour")
    ]
    if median is not None and p95 is not None:
        lines.append(f"latency from the end of a word: median {median:.2f} s, 95 % within {p95:.2f} s")
    if result.hits:
        unsure = [
            share_of(sum(value < SURE for value in values), result.hits)
            for values in (result.probabilities, result.peaks)
        ]
        lines += [
            f"posterior of hits: median {result.probability_median:.2f} when detected, "
            f"{result.peak_median:.2f} at the peak",
            f"hits with less than {SURE}: {unsure[0]} when detected, {unsure[1]} at the peak",
        ]
    if accuracy.clips:
        shares = [share_of(right, accuracy.clips) for right in (accuracy.in_stream, accuracy.cut_out)]
        lines.append(f"labels of {accuracy.clips} clips: {shares[0]} right in the stream, {shares[1]} cut out of it")
    for line in lines:
        console.print(line, highlight=False)
