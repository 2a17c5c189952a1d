"""Long recordings with their label tracks: their posteriors, and the accuracy on the clips in them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechrnn import audio
from speechrnn.channels import Channel
from speechrnn.errors import InputError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.scoring import CachedPosteriors
from speechrnn.labels import Label, read_labels

if TYPE_CHECKING:
    from speechrnn.card import Card
    from speechrnn.model import Model
    from speechrnn.spotter import Spotter


@dataclass(frozen=True)
class Recording:
    """A sound file and its reference labels, in seconds from its start."""

    path: Path
    labels: tuple[Label, ...] = ()
    clips: tuple[Label, ...] = ()  # intervals of whole clips, where a track of them stands beside the sound


@dataclass(frozen=True)
class IntervalAccuracy:
    """How many clips of a stream get their label within it, and how many when they are cut out of it."""

    clips: int = 0
    in_stream: int = 0
    cut_out: int = 0

    def __add__(self, other: "IntervalAccuracy") -> "IntervalAccuracy":
        return IntervalAccuracy(
            self.clips + other.clips, self.in_stream + other.in_stream, self.cut_out + other.cut_out
        )


def sound_files(paths: Iterable[Path], held_out: bool) -> Iterator[Path]:
    """Files as they are, and of folders all sound files below them, or only those that training leaves out."""
    for path in paths:
        if path.is_dir():
            yield from corpus.held_out(audio.sound_files(path)) if held_out else audio.sound_files(path)
        else:
            yield path


def read(path: Path, labels: Path | None = None, no_labels: bool = False) -> Recording:
    """The file with its label tracks: `labels`, or x.txt beside x.wav, and x.clips.txt where there is one.

    With `no_labels`, no word is expected in it.

    Raises
    ------
    InputError
        if the sound or the label track isn't there, or a track is no good
    """
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


def cache_posteriors(
    spotter: "Spotter",
    group: Iterable[Recording],
    advance: Callable[[float], None] = lambda seconds: None,
    channel: Channel = "mean",
) -> tuple[CachedPosteriors, list[float]]:
    """Run the network over recordings as one stream from a fresh state.

    `advance` is called with the seconds of sound that were processed since its last call. Returned are the posteriors
    of the whole stream, and the second in it where each recording begins.
    """
    spotter.reset()
    rows, labels, starts, samples = [], [], [], 0
    for recording in group:
        start = samples / audio.SAMPLE_RATE
        starts.append(start)
        labels += [Label(start + label.start, start + label.end, label.word) for label in recording.labels]
        for block in audio.blocks(recording.path, channel=channel):
            rows.append(spotter.posteriors(block))
            samples += len(block)
            advance(len(block) / audio.SAMPLE_RATE)
    rows.append(spotter.posteriors(spotter.ending()))
    return CachedPosteriors(np.concatenate(rows), tuple(labels), samples / audio.SAMPLE_RATE), starts


def interval_accuracy(
    model: "Model", recording: Recording, posteriors: np.ndarray, start: float = 0.0, channel: Channel = "mean"
) -> IntervalAccuracy:
    """Label the clips of a recording, within the stream and cut out of it.

    Clips whose label is none of the model's are left out.

    Parameters
    ----------
    model : Model
    recording : Recording
    posteriors : array [blocks, labels]
        of the stream
    start : number
        second of the stream at which the recording begins
    channel : int from 1, "mean" or "loudest"

    Raises
    ------
    InputError
        if a clip is empty or ends after the sound
    """
    clips = [clip for clip in recording.clips if clip.word in model.labels]
    if not clips:
        return IntervalAccuracy()
    sound = audio.load(recording.path, channel=channel)
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
    return slice(first, first + blocks + card.tail_blocks)


def total_seconds(recordings: Sequence[Recording]) -> float | None:
    """By the headers; None where one can't be read or leaves it open (reading it raises the error)."""
    lengths = [audio.seconds_of(recording.path) for recording in recordings]
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None
