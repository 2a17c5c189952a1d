"""python -m data_scripts.kinds [MODEL]: accuracy and false accepts by kind of held-out sound.

Words: validation clips of Speech Commands, clean and with one change each: noise, rooms, talkers, microphones, lines.
Streams: the same clips one after another, with talkers or noise. Quiet: false accepts an hour in each kind of held-out
speech and noise, as `speechrnn score` counts them.

Levels: noise is so many dB below the mean power of the word (from its start to its end, by energy); talkers are so many
dB below the word's loudest tenth of a second.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soxr
import typer
from rich.table import Table

from data_scripts.beds import rms
from speechrnn import audio, level
from speechrnn.audio import SAMPLE_RATE
from speechrnn.card import SILENCE
from speechrnn.errors import AudioError, InputError
from speechrnn.evaluation import corpus, recordings, scoring
from speechrnn.evaluation.data_folders import DATA, DataOption
from speechrnn.evaluation.endpoints import word_endpoints
from speechrnn.evaluation.recordings import Recording
from speechrnn.evaluation.streams import make_stream, save
from speechrnn.evaluation.validate import cache_all
from speechrnn.files import check_writable, write
from speechrnn.level import db_to_amplitude
from speechrnn.model import Model
from speechrnn.programs import report_errors, say
from speechrnn.progress import with_progress
from speechrnn.spotter import Spotter
from speechrnn.terminal import plain_console

PARTITION = "validation"
NOISE = (
    "moodist",
    "blanket",
    "pyaudio_silence",
    "esc10",
    "ms_snsd_slices",
    "music_librosa",
    "music_pyaudio",
)  # of noise/
KINDS = {  # of held-out sound without a command: folders below that of the data
    "read speech": ("speech/librispeech", "speech/ljtexts"),
    "coffee orders": ("speech/picovoice",),
    "learners, sentences": ("speech/speechocean762",),
    "learners, digits and letters": ("speech/speechocean762",),
    "household": ("noise/esc10",),
    "public places": ("noise/ms_snsd_slices",),
    "ambience": ("noise/moodist", "noise/blanket", "noise/pyaudio_silence"),
    "music": ("noise/music_librosa", "noise/music_pyaudio"),
    "talkers, television": ("beds",),
}
NEVER_TRAINED_ON = ("music_pyaudio",)  # no configuration in configs/ does: all of it counts
SPELLED = "learners, digits and letters"
DIGITS = {"zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "point"}
SPELLED_SHARE = 0.6  # of the tokens of a text that are digits or single letters
ROOM_SECONDS, ROOM_RATIO_DB = (0.5, 0.9), (-3.0, 3.0)
STREAM_LEVEL = -20.0  # dB of each word's loudest tenth of a second, where talkers are behind the words
Change = Callable[[np.random.Generator, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Behind:
    """Held-out backgrounds [samples each]: noise, and the speech of each of some speakers."""

    noise: Sequence[np.ndarray]
    talkers: Sequence[np.ndarray]


def loudest_tenth(sound: np.ndarray) -> float:
    """Root mean square of the loudest tenth of a second."""
    return max(level.loudest_rms(sound, SAMPLE_RATE // 10), 1e-6)


def cut(rng: np.random.Generator, sounds: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """A piece of one of the sounds [samples]; a short one is repeated."""
    sound = sounds[int(rng.integers(len(sounds)))]
    start = int(rng.integers(max(1, len(sound) - samples + 1)))
    return np.resize(sound[start : start + samples], samples)


def word_level(sound: np.ndarray) -> float:
    """Root mean square of the word in a clip."""
    first, last = word_endpoints(sound)
    return rms(sound[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)])


def with_noise(behind: Behind, snr: float) -> Change:
    """Noise at a ratio in dB to the level of the word."""

    def change(rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
        piece = cut(rng, behind.noise, len(sound))
        return sound + piece * np.float32(word_level(sound) * db_to_amplitude(-snr) / rms(piece))

    return change


def talk(rng: np.random.Generator, behind: Behind, count: int, samples: int) -> np.ndarray:
    """So many talkers, equally loud, at a root mean square of 1 [samples]."""
    pieces = [cut(rng, behind.talkers, samples) for _ in range(count)]
    mixed = np.sum([piece / rms(piece) for piece in pieces], axis=0)
    return (mixed / rms(mixed)).astype(np.float32)


def with_talkers(behind: Behind, count: int, below: float) -> Change:
    """Talkers so many dB below the loudest tenth of a second."""

    def change(rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
        return sound + talk(rng, behind, count, len(sound)) * np.float32(loudest_tenth(sound) * db_to_amplitude(-below))

    return change


def far(behind: Behind) -> Change:
    """Reverberation, and noise at 15 dB."""
    from speechrnn.training.augment import room_response

    noisy = with_noise(behind, 15.0)

    def change(rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
        response = room_response(rng, SAMPLE_RATE, ROOM_SECONDS, ROOM_RATIO_DB)
        length = 1 << (len(sound) + len(response) - 1).bit_length()
        reverberant = np.fft.irfft(np.fft.rfft(sound, length) * np.fft.rfft(response, length), length)[: len(sound)]
        return noisy(rng, reverberant.astype(np.float32))

    return change


def overdriven(_: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    return 10.0 * sound  # clipped below


def quiet(_: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    return np.round(sound * np.float32(db_to_amplitude(-30.0)) * 32768.0) / np.float32(32768.0)


def telephone(_: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """8 kHz and mu-law with 8 bits, as ITU-T G.711 has it."""
    narrow = np.clip(soxr.resample(sound, SAMPLE_RATE, 8000), -1.0, 1.0)
    steps = np.round(np.sign(narrow) * np.log1p(255.0 * np.abs(narrow)) / np.log(256.0) * 127.0) / 127.0
    return soxr.resample(
        (np.sign(steps) * (256.0 ** np.abs(steps) - 1.0) / 255.0).astype(np.float32), 8000, SAMPLE_RATE
    )


def tight(_: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """From 0.05 s before the word to 0.05 s after it."""
    first, last = word_endpoints(sound)
    return sound[max(0, round((first - 0.05) * SAMPLE_RATE)) : round((last + 0.05) * SAMPLE_RATE)]


def changes(behind: Behind) -> dict[str, Change]:
    """Changes of words by name; those without recordings are left out."""
    found: dict[str, Change] = {"as they are": lambda rng, sound: sound}
    if behind.noise:
        found |= {"noise at 10 dB": with_noise(behind, 10.0), "noise at 0 dB": with_noise(behind, 0.0)}
        found["far, 0.5 to 0.9 s, noise at 15 dB"] = far(behind)
    if behind.talkers:
        for count, name in ((1, "one talker"), (4, "four talkers")):
            found |= {f"{name}, {below} dB below": with_talkers(behind, count, below) for below in (20, 10)}
    return found | {
        "ten times, clipped": overdriven,
        "30 dB quieter": quiet,
        "telephone": telephone,
        "cut tight": tight,
    }


def words(model: Model, clips: Sequence[corpus.Clip], change: Change, seed: int) -> dict[str, Any]:
    """Accuracy on changed clips; noise and talkers are the same for each model."""

    def sounds() -> Iterator[np.ndarray]:
        for number, clip in enumerate(clips):
            sound = clip.sound()
            sound = sound if isinstance(sound, np.ndarray) else audio.load(sound)
            yield np.clip(change(np.random.default_rng((seed, number)), sound), -1.0, 1.0).astype(np.float32)

    right: dict[str, list[bool]] = {}
    for clip, result in with_progress(zip(clips, model.classify_many(sounds()), strict=True), len(clips)):
        if isinstance(result, AudioError):
            raise AudioError(f"{clip.path}: {result}")
        right.setdefault(clip.label, []).append(result.label == clip.label)
    recalls = {label: float(np.mean(right[label])) for label in model.labels if label in right}
    hits = [hit for label in model.card.words for hit in right.get(label, ())]
    of_words = {label: recall for label, recall in recalls.items() if label in model.card.words}
    return {
        "clips": sum(map(len, right.values())),
        "all_labels": float(np.mean(np.concatenate(list(right.values())))),
        "words": float(np.mean(hits)),
        "weakest_word": min(of_words, key=lambda word: of_words[word]),
        "recalls": recalls,
    }


def stream(
    model: Model, clips: Sequence[corpus.Clip], behind: np.ndarray | None, seed: int, minutes: float | None
) -> dict[str, Any]:
    """Misses and false accepts in one stream of clips, with the sound `behind` [samples] through all of it."""
    if behind is not None:
        clips = [_at_level(clip) for clip in clips]
    samples, spoken, intervals = make_stream(clips, seed=seed, seconds=None if minutes is None else 60.0 * minutes)
    if behind is not None:
        samples = samples + np.resize(behind, len(samples))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.wav"
        save(path, np.clip(samples, -1.0, 1.0), spoken, intervals)
        return counted(model, [recordings.read(path)])


def _at_level(clip: corpus.Clip) -> corpus.Clip:
    """The clip with its loudest tenth of a second at STREAM_LEVEL; noise stays as it is."""
    if clip.label == SILENCE:
        return clip
    loudest = loudest_tenth(audio.load(clip.path))
    return replace(clip, seconds=corpus.CLIP_SECONDS, gain=db_to_amplitude(STREAM_LEVEL) / loudest)


def counted(model: Model, found: Sequence[Recording]) -> dict[str, Any]:
    """Figures of the spotter on recordings, each from a fresh state."""
    spotter = Spotter(model)
    score = scoring.judge(spotter, cache_all(spotter, found))
    hours = score.seconds / 3600.0
    figures = {"hours": hours, "false_accepts": score.total.false_accepts}
    figures["false_accepts_per_hour"] = score.total.false_accepts / hours if hours else 0.0
    if score.words:
        wrong = score.total.substitutions
        figures |= {"words": score.words, "missed_share": score.total.misses / score.words, "wrong": wrong}
    return {**figures, "taken_for": {word: c.false_accepts for word, c in score.counts.items() if c.false_accepts}}


def is_spelled(text: str) -> bool:
    """Whether a text is a string of digits or letters rather than a sentence."""
    tokens = text.lower().split()
    return bool(tokens) and sum(t in DIGITS or len(t) == 1 for t in tokens) >= SPELLED_SHARE * len(tokens)


def texts(speech: Path) -> dict[str, str]:
    """Transcripts of recordings below a folder, by FOLDER/NAME, of its transcripts.tsv, where it has one."""
    listed = speech / "transcripts.tsv"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return {name: text for name, _, text in (line.partition("\t") for line in lines)}


def quiet_recordings(data: Path) -> dict[str, list[Recording]]:
    """Held-out recordings without a command, by kind; a kind of which there are none is left out."""
    transcripts, found = texts(data / "speech"), {}
    for kind, folders in KINDS.items():
        paths = held_out(data / folder for folder in folders)
        if "speech/speechocean762" in folders:
            name = {path: f"{path.parent.name}/{path.stem}" for path in paths}
            paths = [path for path in paths if is_spelled(transcripts.get(name[path], "")) == (kind == SPELLED)]
        if paths:
            found[kind] = [recordings.read(path, no_labels=True) for path in paths]
    return found


def held_out(folders: Iterable[Path]) -> list[Path]:
    """Held-out recordings of those folders that exist."""
    there = [(folder, audio.sound_files(folder)) for folder in folders if folder.is_dir()]
    return [
        p for folder, found in there for p in (found if folder.name in NEVER_TRAINED_ON else corpus.held_out(found))
    ]


def read_behind(data: Path) -> Behind:
    """Noise: ends of the data set's background recordings, held-out recordings of noise/; talkers: of speech/."""
    noise = []
    for path in corpus.noise_recordings(data / "speech_commands"):
        sound = audio.load(path)
        noise.append(sound[int(len(sound) * corpus.VALIDATION_NOISE_FROM) :])
    noise += [audio.load(path) for path in held_out(data / "noise" / name for name in NOISE)]
    by_speaker: dict[tuple[str, str], list[np.ndarray]] = {}
    for path in held_out([data / "speech"]):
        by_speaker.setdefault((path.parent.name, path.stem.split("-")[0]), []).append(audio.load(path))
    return Behind([n for n in noise if rms(n) > 1e-4], [np.concatenate(pieces) for pieces in by_speaker.values()])


def measure(
    model: Model, data: Path, seed: int, most_clips: int | None = None, minutes: float | None = None
) -> dict[str, Any]:
    """All kinds that the folders below `data` allow."""
    clips = corpus.evaluation_clips(data / "speech_commands", model.labels, PARTITION)
    if most_clips is not None and most_clips < len(clips):
        clips = [clips[i] for i in sorted(np.random.default_rng(seed).permutation(len(clips))[:most_clips])]
    behind, rng = read_behind(data), np.random.default_rng(seed)
    spoken = [clip for clip in clips if clip.label != SILENCE]
    made: dict[str, Any] = {"model": model.name, "seed": seed, "words": {}, "streams": {}, "quiet": {}}
    for name, change in changes(behind).items():
        made["words"][name] = words(model, clips if name == "as they are" else spoken, change, seed)
    streams: dict[str, np.ndarray | None] = {"as they are": None}
    if behind.noise:
        noise = np.concatenate([n / rms(n) for n in (cut(rng, behind.noise, SAMPLE_RATE * 10) for _ in range(60))])
        streams["noise at 10 dB"] = noise * np.float32(db_to_amplitude(STREAM_LEVEL - 10.0))
    if behind.talkers:
        for count, name in ((1, "one talker"), (4, "four talkers")):
            mixed = talk(rng, behind, count, SAMPLE_RATE * 600)
            streams |= {
                f"{name}, {b} dB below": mixed * np.float32(db_to_amplitude(STREAM_LEVEL - b)) for b in (20, 10)
            }
    for name, sound in streams.items():
        made["streams"][name] = stream(model, clips, sound, seed, minutes)
    for kind, found in quiet_recordings(data).items():
        made["quiet"][kind] = counted(model, found)
    return made


def show(made: Mapping[str, Any]) -> None:
    """Print the tables."""
    console = plain_console(width=None if sys.stdout.isatty() else 120)
    table = Table("words", "right", "weakest", corpus.UNKNOWN, "all labels")
    for name, row in made["words"].items():
        weakest = f"{row['weakest_word']} {row['recalls'][row['weakest_word']]:.1%}"
        unknown = row["recalls"].get(corpus.UNKNOWN)
        table.add_row(
            name,
            f"{row['words']:.1%}",
            weakest,
            "-" if unknown is None else f"{unknown:.1%}",
            f"{row['all_labels']:.2%}",
        )
    console.print(table)
    table = Table("streams", "missed", "wrong", "false accepts an hour", "hours")
    for name, row in made["streams"].items():
        missed = f"{row['missed_share']:.1%}" if "missed_share" in row else "-"
        rate = f"{row['false_accepts_per_hour']:.1f}"
        table.add_row(name, missed, str(row.get("wrong", "-")), rate, f"{row['hours']:.2f}")
    console.print(table)
    table = Table("held out, without a command", "false accepts an hour", "in all", "hours", "words")
    for name, row in made["quiet"].items():
        taken = ", ".join(f"{word} ({count})" for word, count in row["taken_for"].items())
        table.add_row(
            name, f"{row['false_accepts_per_hour']:.1f}", str(row["false_accepts"]), f"{row['hours']:.2f}", taken
        )
    console.print(table)


def main(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="An ONNX file; the shipped one if left out")
    ] = None,
    data: DataOption = DATA,
    seed: Annotated[int, typer.Option(min=0, help="Of noise, talkers, rooms and the order of streams")] = 0,
    most_clips: Annotated[
        int | None, typer.Option("--clips", min=1, help="So many clips at most", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Length of each stream at most; all clips if left out", show_default=False),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything as JSON into this file")] = None,
) -> None:
    """Measure a model by kind of sound: words in noise, rooms and among talkers, and false accepts an hour.

    Example: python -m data_scripts.kinds model.onnx --data ../data --json kinds.json
    """
    with report_errors():
        if json_file:
            check_writable(json_file, "--json")
        made = measure(Model(model), data, seed, most_clips, minutes)
        show(made)
        absent = [kind for kind in KINDS if kind not in made["quiet"]]
        if absent:
            say(f"no held-out sound of {', '.join(absent)} below {data}: left out")
        if not made["quiet"] and len(made["words"]) < 2:
            raise InputError(f"{data}: holds nothing to measure with: give the folder of all recordings")
        if json_file:
            write(json_file, (json.dumps(made, indent=2) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
