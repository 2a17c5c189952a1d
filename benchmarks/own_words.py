"""python -m benchmarks.own_words DATA: how well own words are detected that the network has never met in any role.

These words are held out of all training. Takes and the recordings that are tested are
of different speakers where the data tell them apart. Thresholds come from the background pack alone. False accepts are
counted in the half of the running speech and of the noise that the pack doesn't know; a held trigger counts once a
second.
"""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from data_scripts.background_pack import NOISE, in_half, speaker
from speechrnn import audio
from speechrnn.decision import smooth
from speechrnn.enrolment import background, takes, versions
from speechrnn.enrolment.enrol import Enroller
from speechrnn.enrolment.head import columns, posteriors
from speechrnn.enrolment.takes import RATE
from speechrnn.enrolment.trunk import Run, Trunk
from speechrnn.errors import AudioError, InputError
from speechrnn.files import check_place, write
from speechrnn.model import Model
from speechrnn.programs import report_errors

WORDS = {
    "jarvis": "wake_words", "smart_mirror": "wake_words", "project": "dsp_speech_20",
    "open": "dsp_speech_20", "close": "dsp_speech_20", "print": "dsp_speech_20",
}  # fmt: skip
ONE_SPEAKER = {"seven": "7", "zero": "0", "three": "3"}  # of the spoken digits
SPEECH = ("librispeech", "picovoice", "ljtexts", "speechocean762")
MOST_TESTED = 120  # recordings of a word
GAP = 0.3  # seconds between the utterances of a stream


@dataclass
class Row:
    """A word, enrolled from one draw of takes."""

    word: str
    takes: int
    draw: int
    tested: int
    heard: float
    heard_in_noise: float
    expected: tuple[float, float, float]
    expected_in_noise: tuple[float, float, float]
    false_accepts: dict[str, int]
    false_accepts_per_hour: float
    threshold: float

    def within(self) -> tuple[bool, bool]:
        """Whether what was promised holds, clean and in noise."""
        return (
            self.expected[1] <= self.heard <= self.expected[2],
            self.expected_in_noise[1] <= self.heard_in_noise <= self.expected_in_noise[2],
        )


def unknown_sound(data: Path) -> dict[str, list[Path]]:
    """Of each kind of speech and noise the files of the half that no pack may know."""
    folders = {kind: data / "speech" / kind for kind in SPEECH}
    folders |= {kind: data / "noise" / kind for kind in (*NOISE, "esc10")}
    found = {
        kind: [path for path in sorted(folder.rglob("*.wav")) if not in_half(speaker(path))]
        for kind, folder in folders.items()
    }
    if not any(found.values()):
        raise InputError(f"{data}: holds no speech/ and noise/: unpack the recordings there")
    return {kind: paths for kind, paths in found.items() if paths}


def triggers(smoothed: np.ndarray, threshold: float, per_second: int = 50) -> int:
    """Of smoothed posteriors [blocks]: a trigger that is held counts again every second."""
    count, ready = 0, 0
    for block in np.flatnonzero(smoothed >= threshold):
        if block >= ready:
            count, ready = count + 1, int(block) + per_second
    return count


def who(path: Path) -> str:
    return path.name.split("-")[0] if path.parents[1].name == "dsp_speech_20" else path.name


def draw(paths: list[Path], count: int, seed: str) -> list[Path]:
    """Recordings of different speakers, of at most half of them all."""
    rng = random.Random(seed)
    by_speaker: dict[str, list[Path]] = {}
    for path in paths:
        by_speaker.setdefault(who(path), []).append(path)
    speakers = sorted(by_speaker)
    rng.shuffle(speakers)
    chosen: list[Path] = []
    for turn in range(count):
        speaker_ = speakers[turn % min(count, len(speakers) // 2)]
        chosen.append(rng.choice([path for path in by_speaker[speaker_] if path not in chosen]))
    return chosen


def tested_runs(trunk: Trunk, paths: list[Path], noise: np.ndarray) -> dict[Path, tuple[Run, Run]]:
    """Each recording by itself after a second of its own faint floor: as it is, and in noise at 10 dB."""
    rng = np.random.default_rng(5)
    sounds = []
    usable = []
    for path in paths:
        try:
            take = max(takes.split(audio.load(path), str(path)), key=lambda take: take.snr_db)
        except AudioError:
            continue
        sound, start, end = versions.surrounded(take, rng)
        usable.append(path)
        sounds += [sound, versions.in_noise(sound, start, end, noise, 10.0, rng)]
    runs = trunk.run(sounds)
    return {path: (runs[2 * i], runs[2 * i + 1]) for i, path in enumerate(usable)}


class Measurement:
    """A model with the sound that nothing was fitted on, through its trunk."""

    def __init__(self, model: Model, data: Path, pack: background.Background) -> None:
        self.data, self.card = data, model.card
        self.enroller = Enroller(model, pack)
        trunk = self.enroller.trunk
        sound = unknown_sound(data)
        gap = np.zeros(round(GAP * RATE), np.float32)
        self.streams = {
            kind: trunk.stream(np.concatenate([part for path in paths for part in (audio.load(path), gap)]))
            for kind, paths in sound.items()
        }
        hours = {kind: len(run.states) * self.card.block_seconds / 3600.0 for kind, run in self.streams.items()}
        self.hours = sum(hours.values())
        spoken = sum(hours[kind] for kind in SPEECH if kind in hours)
        noise_hours = self.hours - spoken
        typer.echo(f"{spoken:.2f} h of running speech, {noise_hours:.2f} h of noise, unknown to the pack", err=True)
        files = [path for kind in ("moodist", "blanket", "music_librosa") for path in sound.get(kind, [])]
        self.noise = np.concatenate([audio.load(path)[: 20 * RATE] for path in files])

    def word(self, word: str, paths: list[Path], counts: list[int], draws: int) -> Iterator[Row]:
        """A word from takes of some speakers, tested on the recordings of others."""
        picked = random.Random(word).sample(paths, min(len(paths), 220))
        runs = tested_runs(self.enroller.trunk, picked, self.noise)
        for count in counts:
            for number in range(draws):
                chosen = draw(paths, count, f"{word} {number}")
                used = {who(path) for path in chosen}
                yield self.row(word, number, chosen, [runs[path] for path in runs if who(path) not in used])

    def one_speaker(self, word: str, paths: list[Path], count: int) -> Iterator[Row]:
        """A word from each speaker's takes by itself, tested on other takes of the same speaker."""
        speakers: dict[str, list[Path]] = {}
        for path in paths:
            speakers.setdefault(path.name.split("_")[1], []).append(path)
        for number, (name, mine) in enumerate(sorted(speakers.items())):
            random.Random(name).shuffle(mine)
            runs = tested_runs(self.enroller.trunk, mine[count : count + 25], self.noise)
            yield self.row(f"{word} of {name}", number, mine[:count], list(runs.values()))

    def row(self, word: str, number: int, chosen: list[Path], tested: list[tuple[Run, Run]]) -> Row:
        given, _ = takes.read(chosen)
        made = self.enroller.enrol({word: given}, force=True, seed=number)
        layout = columns(self.card.labels, self.card.words, (word,), self.card.words)
        column, threshold = layout.labels.index(word), made.thresholds[word]
        window = self.card.smoothing_blocks

        def smoothed(run: Run) -> np.ndarray:
            values = posteriors(run.posteriors, made.head.logits(run.states), layout)[:, column]
            return smooth(values[:, None], min(window, len(values)))[:, 0]

        tested = tested[:MOST_TESTED]
        hits = [float(np.mean([smoothed(pair[k]).max() >= threshold for pair in tested])) for k in (0, 1)]
        fired = {kind: triggers(smoothed(run), threshold) for kind, run in self.streams.items()}
        clean, noisy = made.reports[0].clean, made.reports[0].noisy
        per_hour = sum(fired.values()) / self.hours
        typer.echo(
            f"{word:16} {len(chosen):3} takes, draw {number}: {hits[0]:6.1%} {hits[1]:6.1%}  {per_hour:4.2f}/h  "
            f"promised {clean}, {noisy}  " + " ".join(f"{kind}:{n}" for kind, n in fired.items() if n),
            err=True,
        )
        return Row(
            word, len(chosen), number, len(tested), hits[0], hits[1], (clean.share, clean.low, clean.high),
            (noisy.share, noisy.low, noisy.high), fired, per_hour, threshold,
        )  # fmt: skip


def table(rows: list[Row]) -> str:
    """Markdown: means over draws."""
    lines = [
        "| word | takes | heard | in noise at 10 dB | false accepts an hour | promise held |",
        "|---|---|---|---|---|---|",
    ]
    counts = sorted({row.takes for row in rows})
    for word in [*dict.fromkeys(row.word for row in rows), "mean"]:
        for count in counts:
            some = [row for row in rows if row.takes == count and word in (row.word, "mean")]
            held = [promise for row in some for promise in row.within()]
            lines.append(
                f"| {word} | {count} | {np.mean([row.heard for row in some]):.1%} | "
                f"{np.mean([row.heard_in_noise for row in some]):.1%} | "
                f"{np.mean([row.false_accepts_per_hour for row in some]):.2f} | {sum(held)} of {len(held)} |"
            )
    return "\n".join(lines)


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="the folder of unpacked sound")],
    takes_: Annotated[list[int] | None, typer.Option("--takes", help="How many takes; may be repeated")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of takes for each word")] = 3,
    pack: Annotated[Path, typer.Option(help="The background pack")] = background.FILE,
    model: Annotated[str | None, typer.Option(help="ONNX file instead of gru-12")] = None,
    one_speaker: Annotated[bool, typer.Option("--one-speaker", help="Spoken digits too, each speaker alone")] = False,
    out: Annotated[Path | None, typer.Option(help="Write all rows as JSON")] = None,
) -> None:
    """Measure own words on recordings and sound that nothing was fitted on.

    Example: python -m benchmarks.own_words ../data --one-speaker
    """
    with report_errors():
        if out:
            check_place(out, "--out")
        if not os.path.isdir(data):
            raise InputError(f"{data}: is no folder: give that of the unpacked recordings")
        measurement = Measurement(Model(model), data, background.load(pack))
        rows: list[Row] = []
        for word, folder in WORDS.items():
            paths = sorted((data / "words" / folder / word).glob("*.wav"))
            rows += measurement.word(word, paths, takes_ or [5, 20], draws)
        typer.echo(table(rows))
        if one_speaker:
            same: list[Row] = []
            for word, folder in ONE_SPEAKER.items():
                paths = sorted((data / "words" / "spoken_digits" / folder).glob("*.wav"))
                same += measurement.one_speaker(word, paths, 5)
            typer.echo(f"\nOne speaker's 5 takes, other takes of the same speaker:\n\n{table(same)}")
            rows += same
        if out:
            write(out, (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
