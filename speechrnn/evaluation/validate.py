"""All figures that a model is chosen by, on sound that it was not trained on.

Clips: accuracy on the validation speakers of Speech Commands, and expected calibration error. Open set: words of a set
that training never reads, and held-out words of other sets, are to be `_unknown_`; noise and music that training never
reads are to be `_silence_`. Streams: those of `speechrnn.evaluation.streams`, clean, noisy and with a faint hiss in the
gaps, and held-out speech and noise, with the counts of `speechrnn score`.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechrnn import audio
from speechrnn.card import SILENCE
from speechrnn.channels import Channel
from speechrnn.errors import AudioError, InputError
from speechrnn.evaluation import calibration, corpus, recordings, scoring
from speechrnn.evaluation.recordings import IntervalAccuracy, Recording
from speechrnn.evaluation.streams import held_out_noise, make_stream, save
from speechrnn.evaluation.tables import confusion_figures, score_figures
from speechrnn.model import Model, Sound
from speechrnn.programs import say
from speechrnn.progress import SoundProgress, with_progress
from speechrnn.spotter import Spotter

PARTITION = "validation"
NOISE_HOP_SECONDS = 3.0  # one second of every three of a noise is taken
NOISY = 10.0  # dB, words above the noise of the noisy stream
HISS = -60.0  # dB below full scale, in the gaps of the hissing stream


@dataclass(frozen=True)
class Folders:
    """Where the recordings are."""

    commands: Path  # in the layout of Speech Commands
    speech: Path
    noise: Path
    unseen_words: tuple[Path, ...]  # a folder for each word in each of them
    held_out_words: tuple[Path, ...]  # recordings of other words, most of which training may have
    unseen_noise: tuple[Path, ...]


def confusions(
    model: Model, folder: Path, partition: str | None, workers: int | None = None, channel: Channel = "mean"
) -> tuple[np.ndarray, list[tuple[float, bool]], int]:
    """Label the evaluation clips of a folder; print a line for each that can't be read.

    Returned are the counts [reference labels, predicted labels], for each clip the probability of its predicted label
    and whether that is right, and the number of unreadable clips. Raises AudioError if all are.
    """
    found = corpus.evaluation_clips(folder, model.labels, partition)
    counts = np.zeros((len(model.labels), len(model.labels)), int)
    labelled, unreadable = [], 0
    results = model.classify_many((clip.sound(channel) for clip in found), workers, channel)
    for clip, result in with_progress(zip(found, results, strict=True), len(found)):
        if isinstance(result, AudioError):
            say(str(result))
            unreadable += 1
            continue
        counts[model.labels.index(clip.label), model.labels.index(result.label)] += 1
        labelled.append((result.probability, result.label == clip.label))
    if not labelled:
        raise AudioError(f"{folder}: none of its {len(found)} clips could be used")
    return counts, labelled, unreadable


def clips(model: Model, folder: Path) -> dict[str, Any]:
    """Accuracy, recall of each label and expected calibration error on validation clips, as `speechrnn evaluate`."""
    counts, labelled, unreadable = confusions(model, folder, PARTITION)
    probabilities, right = zip(*labelled, strict=True)
    rows = confusion_figures(counts, model.labels)
    words = [row for row in rows if row["label"] in model.card.words and row["clips"]]
    return {
        "clips": len(right),
        "unreadable": unreadable,
        "accuracy": float(np.mean(right)),
        "weakest_word": min(words, key=lambda row: row["recall"], default={"label": None})["label"],
        "labels": rows,
        "confusions": counts.tolist(),
        "expected_calibration_error": calibration.expected_calibration_error(probabilities, right),
    }


def open_set(model: Model, sounds: Sequence[tuple[str, Sound]], label: str) -> dict[str, Any]:
    """Recall of sounds that all have the same reference label, in total and by kind.

    `sounds` are pairs of the name of a kind and a sound as `Model.classify` takes it. Raises InputError if the model
    has no such label, or no sound can be used.
    """
    if label not in model.labels:
        raise InputError(f"{model.name}: has no label {label}")
    predicted: defaultdict[str, Counter[str]] = defaultdict(Counter)  # labels, by the kind of sound
    unreadable = 0
    results = model.classify_many(sound for _, sound in sounds)
    for (kind, _), result in with_progress(zip(sounds, results, strict=True), len(sounds)):
        if isinstance(result, AudioError):
            say(str(result))
            unreadable += 1
        else:
            predicted[kind][result.label] += 1
    if not predicted:
        raise AudioError(f"none of the {len(sounds)} sounds that are to be {label} could be used")
    whole = _recall(sum(predicted.values(), Counter()), label)
    kinds = {kind: _recall(predicted[kind], label) for kind in sorted(predicted)}
    return {**whole, "unreadable": unreadable, "kinds": kinds}


def _recall(predicted: Counter[str], label: str) -> dict[str, Any]:
    taken_for = {other: count for other, count in predicted.most_common() if other != label}
    return {"clips": predicted.total(), "recall": predicted[label] / predicted.total(), "taken_for": taken_for}


def unseen_words(folders: Iterable[Path], labels: Sequence[str]) -> list[tuple[str, Sound]]:
    """The clips of words that are no labels."""
    found = [clip for folder in folders for clip in corpus.word_clips(folder, labels, None)]
    return [(clip.word, clip.path) for clip in found if clip.label == corpus.UNKNOWN]


def held_out_words(folders: Iterable[Path]) -> list[tuple[str, Sound]]:
    """Recordings of words that training leaves out (`data.unknown_folders`), by the folder that they are in."""
    return [(folder.name, path) for folder in folders for path in corpus.held_out(audio.sound_files(folder))]


def unseen_noise(noise: Path, whole: Sequence[Path]) -> list[tuple[str, Sound]]:
    """Clips of a second: of held-out recordings below `noise`, and of all recordings below the folders in `whole`."""
    never = [path for folder in whole for path in audio.sound_files(folder)]
    held_out = corpus.held_out(audio.sound_files(noise)) if noise.is_dir() or not whole else ()
    length, hop = round(corpus.CLIP_SECONDS * audio.SAMPLE_RATE), round(NOISE_HOP_SECONDS * audio.SAMPLE_RATE)
    cuts: list[tuple[str, Sound]] = []
    for path in sorted({*never, *held_out}):
        sound = audio.load(path)
        starts = range(0, max(1, len(sound) - length + 1), hop)
        cuts += [(path.parent.name, sound[start : start + length].copy()) for start in starts]
    if not cuts:
        raise InputError(f"{noise}: holds no sound that is left out of training")
    return cuts


def word_stream(
    commands: Path, labels: Sequence[str], into: Path, snr: float | None = None, hiss: float | None = None
) -> Recording:
    """All validation clips in one stream, as `make_stream` makes it, in a file of the folder `into`."""
    found = corpus.evaluation_clips(commands, labels, PARTITION)
    noise = [] if snr is None else held_out_noise(commands, None, 0)
    path = into / "stream.wav"
    save(path, *make_stream(found, noise=noise, snr=snr, hiss=hiss))
    return recordings.read(path)


def held_out_recordings(*folders: Path) -> list[Recording]:
    """The held-out recordings below the folders, none of which has a command in it."""
    found = [recordings.read(path, no_labels=True) for path in recordings.sound_files(folders, held_out=True)]
    if not found:
        raise InputError(f"{' or '.join(map(str, folders))}: holds no sound that is left out of training")
    return found


def cache_all(spotter: Spotter, found: Sequence[Recording]) -> list[scoring.CachedPosteriors]:
    """The posteriors of each recording, from a fresh state; a bar shows how far it is."""
    with SoundProgress("listening", lambda: recordings.total_seconds(found)) as progress:
        return [recordings.cache_posteriors(spotter, [recording], progress.advance)[0] for recording in found]


def stream(model: Model, found: Sequence[Recording]) -> dict[str, Any]:
    """The figures of `speechrnn score` for recordings."""
    spotter = Spotter(model)
    streams = cache_all(spotter, found)
    accuracy = IntervalAccuracy()
    for recording, cached in zip(found, streams, strict=True):
        accuracy += recordings.interval_accuracy(model, recording, cached.posteriors)
    counted = score_figures(scoring.judge(spotter, streams), accuracy)
    del counted["latencies"]
    if accuracy.clips:
        shares = {"cut_out": accuracy.cut_out / accuracy.clips, "in_stream": accuracy.in_stream / accuracy.clips}
        counted |= {**shares, "lost_in_stream": shares["cut_out"] - shares["in_stream"]}
    return counted


def measure(model: Model, folders: Folders) -> dict[str, Any]:
    """The figures of all parts, by name; the reasons why parts could not be measured are under `skipped`.

    Raises
    ------
    InputError
        if no part could be measured
    """

    def words_in_stream(snr: float | None = None, hiss: float | None = None) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as into:
            return stream(model, [word_stream(folders.commands, model.labels, Path(into), snr, hiss)])

    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "clips": lambda: clips(model, folders.commands),
        "unseen_words": lambda: open_set(model, unseen_words(folders.unseen_words, model.labels), corpus.UNKNOWN),
        "held_out_words": lambda: open_set(model, held_out_words(folders.held_out_words), corpus.UNKNOWN),
        "unseen_noise": lambda: open_set(model, unseen_noise(folders.noise, folders.unseen_noise), SILENCE),
        "clean_stream": words_in_stream,
        "noisy_stream": lambda: words_in_stream(snr=NOISY),
        "hissing_stream": lambda: words_in_stream(hiss=HISS),
        "held_out": lambda: stream(model, held_out_recordings(folders.speech, folders.noise)),
    }
    if not folders.held_out_words:
        del parts["held_out_words"]
    made: dict[str, Any] = {"model": model.name, "skipped": {}}
    for name, part in parts.items():
        try:
            made[name] = part()
        except InputError as error:
            made["skipped"][name] = str(error)
    if len(made["skipped"]) == len(parts):
        raise InputError(f"nothing could be measured: {made['skipped']['clips']}")
    return made
