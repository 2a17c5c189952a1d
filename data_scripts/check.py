"""Check a data set of WORD/SPEAKER_nohash_N.wav: damaged, clipped, silent or duplicate clips, partitions, balance.

Every file is decoded once, on all cores. `_background_noise_` is held to fewer rules than the words (its recordings
are long and have no speaker), `_silence_` may be silent.
"""

import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from speechrnn import audio, folders
from speechrnn.errors import AudioError, InputError
from speechrnn.evaluation.endpoints import takes
from speechrnn.evaluation.partition import PARTITIONS, listed_partitions, partition, partition_lists, speaker
from speechrnn.level import dbfs
from speechrnn.programs import report_errors
from speechrnn.text import printable

BACKGROUND = "_background_noise_"
SILENCE = "_silence_"  # the class of the published test set
FULL_SCALE = 1 - 2**-15  # the largest 16-bit sample
CLIPPED_FRACTION = 0.001
SILENT_DBFS = -70.0
LENGTH_TOLERANCE_SECONDS = 0.0005
EXAMPLES = 3  # of each kind in the table
Format = StrEnum("Format", ["TABLE", "JSON"])
KINDS = {
    "unreadable": "can't be decoded, or holds numbers that aren't finite",
    "empty": "no samples",
    "wrong-rate": "another sample rate than asked for",
    "wrong-length": "shorter or longer than asked for",
    "clipped": f"more than {CLIPPED_FRACTION:.1%} of the samples at full scale",
    "silent": f"below {SILENT_DBFS:.0f} dBFS on average",
    "duplicate": "the same samples as another file",
    "partition": "listed elsewhere than the hash rule says, or twice",
    "speaker": "in more than one partition",
    "missing": "on a list, but not there",
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong: its kind, the clip or speaker or list entry, and what was found."""

    kind: str
    where: str
    detail: str


@dataclass(frozen=True)
class Balance:
    """How much there is of a word: clips and speakers for each partition."""

    word: str
    clips: dict[str, int]
    speakers: dict[str, int]


@dataclass(frozen=True)
class Report:
    """All that was found; `problems` in the order of KINDS, then by what they are about."""

    folder: str
    files: int
    seconds: float
    speakers: int
    problems: tuple[Problem, ...]
    balance: tuple[Balance, ...]

    def of_kind(self, kind: str) -> list[Problem]:
        """Pick the problems of one kind."""
        return [problem for problem in self.problems if problem.kind == kind]


@dataclass(frozen=True)
class Clip:
    """What one file was found to be: problems, length, and the hash of its samples (None if there's no sound)."""

    problems: tuple[Problem, ...]
    seconds: float = 0.0
    samples_hash: bytes | None = None


def examine(folder: Path, name: str, *, rate: int, seconds: float) -> Clip:
    """Decode the file `folder / name` and judge it by itself."""
    path, word = folder / name, name.split("/")[0]
    pieces: list[np.ndarray] = []
    length, rates = 0.0, []
    try:
        if path.stat().st_size == 0:
            return Clip((Problem("empty", name, "0 bytes"),))
        for native in audio.native_blocks(path):
            pieces.append(native.samples)
            rates.append(native.rate)
            length += len(native.samples) / native.rate
    except (OSError, AudioError) as error:
        return Clip((Problem("unreadable", name, str(error).removeprefix(f"{path}: ")),))
    if len({piece.shape[1] for piece in pieces}) > 1:  # joined sounds, some of them stereo
        pieces = [piece.mean(axis=1, keepdims=True) for piece in pieces]
    samples = np.concatenate(pieces)
    if not samples.size:
        return Clip((Problem("empty", name, "0 samples"),))
    if not np.isfinite(samples).all():
        return Clip((Problem("unreadable", name, "holds NaN or infinite samples"),))

    found = []
    found_rate = next((other for other in rates if other != rate), rate)
    if found_rate != rate:
        found.append(Problem("wrong-rate", name, f"{found_rate} Hz"))
    if word != BACKGROUND and abs(length - seconds) > LENGTH_TOLERANCE_SECONDS:
        many = takes(audio.resampler(found_rate)(samples.mean(axis=1), True)) if length > seconds else 1
        found.append(Problem("wrong-length", name, f"{length:.3f} s" + (f", about {many} takes" if many > 1 else "")))
    if (fraction := float(np.mean(np.abs(samples) >= FULL_SCALE))) > CLIPPED_FRACTION:
        found.append(Problem("clipped", name, f"{fraction:.1%} of the samples at full scale"))
    # A microphone that is stuck at some value is as silent as zeros: the mean doesn't count.
    rms = float(np.std(samples, axis=0, dtype=np.float64).max())
    level = dbfs(rms)
    if level < SILENT_DBFS and word != SILENCE:
        found.append(Problem("silent", name, f"{level:.0f} dBFS" if rms else "digital silence"))
    shape = f"{found_rate} {samples.shape}".encode()
    samples_hash = hashlib.blake2b(shape + samples.tobytes(), digest_size=16).digest() if rms else None
    return Clip(tuple(found), length, samples_hash)


def duplicates(clips: dict[str, Clip]) -> list[Problem]:
    """Name each file whose samples came before, under whatever word or format. Silence is no duplicate."""
    first: dict[bytes, str] = {}
    found = []
    for name, clip in clips.items():
        original = first.setdefault(clip.samples_hash, name) if clip.samples_hash else name
        if original != name:
            remark = "" if original.split("/")[0] == name.split("/")[0] else ", another word"
            found.append(Problem("duplicate", name, f"same samples as {original}{remark}"))
    return found


def split(folder: Path, names: list[str]) -> tuple[list[Problem], dict[str, str]]:
    """Compare the folder's lists with the hash rule; return the problems and the partition of each clip."""
    lists, listed = partition_lists(folder), listed_partitions(folder)
    found, assigned = [], {}
    partitions: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        ruled = partition(name)
        # A clip on no list is for training, unless the list it would be on doesn't exist.
        assigned[name] = listed.get(name) or ("training" if ruled in lists else ruled)
        partitions[speaker(name)][assigned[name]] += 1
        if assigned[name] != ruled:
            found.append(Problem("partition", name, f"{assigned[name]} by the lists, {ruled} by the hash rule"))
    both = set(lists.get("validation", ())) & set(lists.get("testing", ()))
    found += [Problem("partition", name, "listed for validation and for testing") for name in both]
    for who, clips in partitions.items():
        if len(clips) > 1:
            found.append(Problem("speaker", who, ", ".join(f"{key} {clips[key]}" for key in PARTITIONS if clips[key])))
    found += [Problem("missing", name, f"listed for {listed[name]}") for name in listed.keys() - set(names)]
    return found, assigned


def balance(assigned: dict[str, str]) -> tuple[Balance, ...]:
    """Count clips and speakers of each word in each partition."""
    words: dict[str, dict[str, list[str]]] = defaultdict(lambda: {key: [] for key in PARTITIONS})
    for name, key in assigned.items():
        words[name.split("/")[0]][key].append(speaker(name))
    return tuple(
        Balance(word, {k: len(v) for k, v in parts.items()}, {k: len(set(v)) for k, v in parts.items()})
        for word, parts in sorted(words.items())
    )


def check(folder: str | os.PathLike[str], *, rate: int = 16000, seconds: float = 1.0, watch: bool = False) -> Report:
    """Check a folder in the layout of Speech Commands.

    Parameters
    ----------
    folder : str or path
        holds WORD/*.wav (or another format), and maybe validation_list.txt and testing_list.txt
    rate : int > 0
        the sample rate that every file should have, in Hz
    seconds : number > 0
        the length that every clip of a word should have
    watch : bool
        show a progress bar on stderr
    """
    if not (folder := Path(folder)).is_dir():
        raise InputError(f"{folder} isn't a folder")
    present = audio.search(folder)
    names = sorted(
        relative.as_posix() for file in present.files if len((relative := file.relative_to(folder)).parts) > 1
    )
    if not names:
        raise InputError(f"{folder} holds no audio: expected WORD/*.wav (or flac, ogg, opus, mp3, aiff, ...) in it")
    folders.warn(present.remarks())
    beside = [file.name for file in present.files if file.parent == folder]
    if beside:
        folders.warn([f"{folder}: {len(beside)} left out, such as {beside[0]}: in no folder of a word"])
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsndfile decodes without the interpreter lock
        found = pool.map(lambda name: examine(folder, name, rate=rate, seconds=seconds), names)
        bar = track(found, "check", len(names), console=Console(stderr=True, quiet=not watch), transient=True)
        clips = dict(zip(names, bar, strict=True))
    problems, assigned = split(folder, [name for name in names if not name.startswith(f"{BACKGROUND}/")])
    problems += duplicates(clips)
    problems += [problem for clip in clips.values() for problem in clip.problems]
    return Report(
        folder=str(folder),
        files=len(names),
        seconds=sum(clip.seconds for clip in clips.values()),
        speakers=len({speaker(name) for name in assigned}),
        problems=tuple(sorted(problems, key=lambda problem: (list(KINDS).index(problem.kind), problem.where))),
        balance=balance(assigned),
    )


def _plain(text: str) -> str:
    """Text without a meaning for rich, or for the terminal."""
    return escape(printable(text))


def show(report: Report) -> None:
    """Print the report as two tables: what is wrong, and how the words are spread."""
    wrong = Table(
        "problem", "count", "for example", title=Text(f"{printable(report.folder)}: problems"), title_justify="left"
    )
    for kind, meaning in KINDS.items():
        problems = report.of_kind(kind)
        examples = "\n".join(f"{_plain(problem.where)}: {_plain(problem.detail)}" for problem in problems[:EXAMPLES])
        wrong.add_row(kind, str(len(problems)), examples or f"[dim]none ({meaning})")
    spread = Table("word", *PARTITIONS, title="clips (speakers) of each word", title_justify="left")
    for row in report.balance:
        spread.add_row(_plain(row.word), *(f"{row.clips[key]} ({row.speakers[key]})" for key in PARTITIONS))
    totals = f"{report.files} files, {report.seconds / 3600:.2f} h, {report.speakers} speakers"
    Console().print(wrong, spread, f"{totals}, {len(report.problems)} problems", sep="\n")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m data_scripts.check data/speech_commands --format json > report.json")
def main(
    folder: Annotated[Path, typer.Argument(help="Folder with WORD/*.wav in it.")],
    format: Annotated[
        Format, typer.Option(help="json has every finding, the table a few of each kind.")
    ] = Format.TABLE,
    rate: Annotated[int, typer.Option(min=1, help="Sample rate that the files should have, in Hz.")] = 16000,
    seconds: Annotated[float, typer.Option(min=0.001, help="Length that a clip should have.")] = 1.0,
) -> None:
    """Check a data set. Exit code 0: nothing is wrong; 1: problems were found; 2: it can't be checked."""
    with report_errors():
        report = check(folder, rate=rate, seconds=seconds, watch=sys.stderr.isatty())
    if format is Format.JSON:
        problems = {kind: [asdict(problem) for problem in report.of_kind(kind)] for kind in KINDS}
        typer.echo(json.dumps(asdict(report) | {"problems": problems}, indent=2))
    else:
        show(report)
    raise typer.Exit(1 if report.problems else 0)


if __name__ == "__main__":
    app()
