"""python -m data_scripts.background_pack DATA OUT.npz: the sound and the moments that `speechrnn enroll` needs.

Sound that is passed on is CC BY, CC0, in the public domain, or made here by espeak-ng and flite: LibriSpeech readers,
Speech Commands and Arabic words alone and in strings, ESC-10. Moments are taken from more: of the kinds of speech and
noise in DATA they know the half of the speakers, or recordings, that `in_half` chooses. Measurements belong to the
other half.
"""

import collections
import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from speechrnn import audio
from speechrnn.enrolment.background import EVERY, Background
from speechrnn.enrolment.fitting import Accumulator, features, within_words
from speechrnn.enrolment.takes import RATE, stretches
from speechrnn.enrolment.trunk import Trunk
from speechrnn.errors import InputError
from speechrnn.files import check_place, check_writable
from speechrnn.model import Model
from speechrnn.programs import report_errors

MODELS = ("gru-12", "gru-12-small")
NOISE = ("moodist", "blanket", "music_librosa", "music_pyaudio", "pyaudio_silence", "ms_snsd_slices")
SECONDS = {"read": 300, "high": 180, "words": 180, "arabic": 180, "strings": 210, "made": 270, "noise": 180}
MOST_OF_A_KIND = 900.0  # seconds, for moments
BITRATE = 16_000  # of Opus, bit/s
ATTRIBUTION = (
    "LibriSpeech (Panayotov, Chen, Povey, Khudanpur; CC BY 4.0), Speech Commands (Pete Warden, Google; CC BY 4.0), "
    "Arabic Speech Commands (Ghandoura, Hjabo, Al Dakkak; CC BY 4.0), ESC-10 (Piczak; CC BY 3.0, clips of "
    "freesound.org under CC0 or CC BY); changed: cut, mixed, coded. Sentences spoken by espeak-ng and flite."
)
SENTENCES = """good morning how are you today|my sister goes to school by bus every day|can you help me with this please
the weather is nice and we are going to the park|i have two brothers and one little cat|what time does the train leave
we had fish and rice for dinner last night|please turn down the music it is too loud|he plays football after school
my father works in a big hospital in the city|she likes reading books about animals|where is the nearest station
it is raining again so take your umbrella|let us meet in front of the library|i would like a cup of coffee with milk
the children are playing in the garden|thank you very much see you next week|my favourite colour is green
do you want to watch a film with us tonight|there are many people waiting in the long line|wait a minute|well done
we need bread butter cheese and a bottle of water|she walked away slowly|the teacher wrote the answer on the board
last summer we visited our grandparents|he is taller than his brother|put the red box under the chair in the corner
i am sorry i did not hear what you said|remember to feed the dog|our team won the game by three points|yes please
the doctor says i should drink more tea|are you coming with us or staying at home|it was a dark and stormy night
they are building a new bridge across the river|breakfast is ready|who is that girl with the yellow hat|banana
in winter the lake is covered with ice|my mother makes the best soup|you must finish your homework|elephant|chicken
the museum is closed on monday|a bird is singing in the tall tree|excuse me|what is it|come here|sit down|hurry up
i see|of course|never mind|over there|let me see|not now|happy birthday|nice to meet you|how much is it|look at me
one apple|a red car|the big house|under the bed|an orange|pencil|water|purple|window|kitchen|umbrella|chocolate
tomorrow|january|wednesday|thirteen|seventy|hundred|butterfly|dinosaur|hospital""".replace("\n", "|").split("|")
NAMES = (
    "Anna", "Peter", "Susan", "Michael", "Tony", "Lily", "David", "Kate", "Bruce", "George", "Nancy", "William",
    "Helen", "Robert", "Alice", "Daniel", "Emma",
)  # fmt: skip
DIGITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "oh", "double",
)  # fmt: skip
ACCENTS = (
    "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbcwmd", "de", "fr", "es", "it", "ja",
    "hi", "pl", "ru", "sw", "cmn",
)  # fmt: skip


def in_half(name: str) -> bool:
    """Whether a speaker or a recording is of the half that a pack may know."""
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 2 == 0


def speaker(path: Path) -> str:
    """Of running speech; a recording of which nobody knows the speaker is its own."""
    return path.name.split("-")[0] if path.parent.name in ("librispeech", "speechocean762") else path.name


def half(folder: Path, seed: int = 0) -> list[Path]:
    """The files below a folder that a pack may know, in random order."""
    chosen = [path for path in sorted(folder.rglob("*.wav")) if in_half(speaker(path))]
    random.Random(seed).shuffle(chosen)
    return chosen


def trimmed(sound: np.ndarray, around: float = 0.04) -> np.ndarray:
    """What stands out in a clip [samples], with a little around it."""
    _, _, found = stretches(sound)
    margin = round(around * RATE)
    return sound[max(0, found[0][0] * 160 - margin) : found[-1][1] * 160 + margin]


def at_speed(sound: np.ndarray, speed: float) -> np.ndarray:
    """Faster, and higher by the same ratio."""
    return audio.resampler(round(RATE * speed))(sound, True) if speed != 1.0 else sound


def strings(files: Iterable[Path], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Words of one speaker after each other as in a sentence, for ever."""
    by_speaker = collections.defaultdict(list)
    for path in files:
        by_speaker[path.name.split("_")[0]].append(path)
    speakers = [paths for paths in by_speaker.values() if len(paths) >= 3]
    while True:
        paths = speakers[rng.integers(len(speakers))]
        parts = []
        for i in rng.integers(0, len(paths), rng.integers(3, 9)):
            parts += [trimmed(audio.load(paths[i])), rng.standard_normal(int(rng.uniform(0, 4000))) * 1e-4]
        yield at_speed(np.concatenate(parts).astype(np.float32), rng.choice([0.9, 1.0, 1.1, 1.2]))


def made(seed: int) -> Iterator[np.ndarray]:
    """Sentences, short phrases, spelled names and strings of digits spoken by espeak-ng and flite, for ever."""
    for program in ("espeak-ng", "flite", "ffmpeg"):
        if shutil.which(program) is None:
            raise InputError(f"{program}: is not installed: get it from the system's packages")
    listed = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    variants = [line.split()[4].removeprefix("!v/") for line in listed.splitlines()[1:] if len(line.split()) > 4]
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/said.wav"
        while True:
            name = rng.choice(NAMES)
            text = rng.choices(
                [rng.choice(SENTENCES), f"{name}, " + " ".join(f"{c}." for c in name.upper()),
                 " ".join(rng.choice(DIGITS) for _ in range(rng.randint(3, 9)))], [0.6, 0.2, 0.2],
            )[0]  # fmt: skip
            if rng.random() < 0.75:
                voice = f"{rng.choice(ACCENTS)}+{rng.choice(variants)}"
                pace, pitch = str(rng.randint(110, 210)), str(rng.randint(20, 99))
                command = ["espeak-ng", "-v", voice, "-s", pace, "-p", pitch, "-w", out, text]
            else:
                pitch, pace = f"int_f0_target_mean={rng.randint(90, 280)}", f"duration_stretch={rng.uniform(0.8, 1.4)}"
                voice = rng.choice(["kal16", "awb", "rms", "slt"])
                command = ["flite", "-voice", voice, "--setf", pitch, "--setf", pace, "-t", text, "-o", out]
            subprocess.run(command, capture_output=True, check=True)
            yield at_speed(audio.load(out), rng.choice([0.88, 1.0, 1.0, 1.15]))


def kinds(data: Path, seed: int) -> dict[str, Iterator[np.ndarray]]:
    """Sounds of each kind that is passed on; different ones for each seed where there is no end to them."""
    from speechrnn.evaluation.partition import partition

    rng = np.random.default_rng(seed)
    read = half(data / "speech" / "librispeech", seed)
    spoken = [p for p in sorted((data / "speech_commands").glob("[!_]*/*.wav")) if partition(p.name) == "training"]
    arabic = sorted((data / "words" / "arabic_speech_commands").rglob("*.wav"))
    by_word = collections.defaultdict(list)
    for path in spoken:
        by_word[path.parent.name].append(path)
    words = [p for paths in by_word.values() for p in random.Random(seed).sample(paths, min(len(paths), 40))]
    for paths in (words, arabic):
        random.Random(seed).shuffle(paths)
    return {
        "read": map(audio.load, read[: len(read) // 2]),
        "high": (at_speed(audio.load(p), rng.choice([0.87, 1.18, 1.3])) for p in read[len(read) // 2 :]),
        "words": map(audio.load, words),
        "arabic": map(audio.load, arabic),
        "strings": strings([*words, *arabic], rng),
        "made": made(seed),
        "noise": map(audio.load, half(data / "noise" / "esc10", seed)),
    }


def joined(sounds: Iterable[np.ndarray], seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Sounds at random levels one after the other, until they are `seconds` long or at an end."""
    parts: list[np.ndarray] = []
    length = 0
    for sound in sounds:
        level = np.sqrt(np.mean(np.square(sound)) + 1e-12)
        sound = sound * min(10.0 ** (rng.uniform(-38.0, -18.0) / 20.0) / level, 0.9 / (np.abs(sound).max() + 1e-9))
        gap = rng.standard_normal(int(rng.uniform(0.1, 0.4) * RATE)) * 1e-4
        parts += [sound.astype(np.float32), gap.astype(np.float32)]
        length += len(sound) + len(gap)
        if length > seconds * RATE:
            break
    return np.concatenate(parts)[: round(seconds * RATE)]


def coded(sound: np.ndarray) -> bytes:
    """Opus in Ogg."""
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "pipe:0", "-c:a", "libopus"]
    command += ["-b:a", str(BITRATE), "-compression_level", "4", "-f", "ogg", "pipe:1"]
    return subprocess.run(command, input=sound.astype("<f4").tobytes(), capture_output=True, check=True).stdout


def moments(trunk: Trunk, data: Path, more: dict[str, np.ndarray], words: dict[str, list[tuple[np.ndarray, float]]]):  # type: ignore[no-untyped-def]
    """Of everything that a pack may know, and of the ways in which one word is said."""
    rng = np.random.default_rng(1)
    sums = Accumulator()

    def add(sound: np.ndarray, every: int = EVERY) -> None:
        states = trunk.stream(sound).states
        sums.add(features(states, np.arange(0, len(states), every)))

    for sound in more.values():
        add(sound)
    for kind in ("speechocean762", "speechocean762", "speechocean762", "picovoice", "ljtexts"):
        # Children and learners, of whom there are many kinds in themselves, three times.
        files = half(data / "speech" / kind, len(sums.means))
        add(joined(map(audio.load, files), MOST_OF_A_KIND, rng))
    files = [path for kind in NOISE for path in half(data / "noise" / kind)]
    add(joined((audio.load(path, max_seconds=None)[: 60 * RATE] for path in files), MOST_OF_A_KIND, rng), 2 * EVERY)
    groups = []
    for clips in words.values():
        runs = trunk.run([sound for sound, _ in clips])
        for after in (0, 5, 10):
            rows = []
            for (_, end), run in zip(clips, runs, strict=True):
                block = min(int(np.ceil(end / trunk.card.block_seconds)) + after, len(run.states) - 1)
                rows.append(features(run.states, np.array([block]))[0])
            groups.append(np.array(rows))
    return sums.moments(within_words(groups))


def spoken_words(data: Path) -> dict[str, list[tuple[np.ndarray, float]]]:
    """Clips of many words by many people, with where the word ends in seconds."""
    from speechrnn.evaluation.partition import partition

    found = {}
    rng = np.random.default_rng(2)
    folders = [*(data / "speech_commands").glob("[!_]*/"), *(data / "words" / "arabic_speech_commands").glob("*/")]
    for folder in sorted(folders):
        paths = [p for p in sorted(folder.glob("*.wav")) if partition(p.name) == "training" or "arabic" in str(p)]
        random.Random(3).shuffle(paths)
        clips = []
        for path in paths[:25]:
            sound = audio.load(path)
            lead = rng.standard_normal(RATE // 2) * 1e-4
            _, _, parts = stretches(sound)
            padded = np.concatenate([lead, sound, np.zeros(RATE // 2)]).astype(np.float32)
            clips.append((padded, 0.5 + parts[-1][1] * 0.01))
        if len(clips) >= 8:
            found[f"{folder.parent.name}/{folder.name}"] = clips
    return found


def main(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="the folder of unpacked sound")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the file to write")],
) -> None:
    """Make the background pack of `speechrnn enroll`.

    Example: python -m data_scripts.background_pack ../data background.npz
    """
    with report_errors():
        check_place(out, "OUT")
        check_writable(out, "OUT", data)
        for folder in ("speech", "noise", "words", "speech_commands"):
            if not os.path.isdir(data / folder):
                raise InputError(f"{data}: has no folder {folder}: unpack the recordings there")
        rng = np.random.default_rng(0)
        sounds = {}
        for kind, each in kinds(data, 0).items():
            sounds[kind] = coded(joined(each, SECONDS[kind], rng))
            typer.echo(f"{kind}: {len(sounds[kind])} bytes", err=True)
        # Moments come from other strings and sentences than the thresholds, where there is no end to them.
        more = {kind: joined(each, SECONDS[kind], rng) for kind, each in kinds(data, 1).items()}
        words = spoken_words(data)
        known = {}
        for name in MODELS:
            trunk = Trunk(Model(name))
            known[trunk.fingerprint] = moments(trunk, data, more, words)
            typer.echo(f"{name}: {trunk.fingerprint}, {len(known[trunk.fingerprint].mean)} features")
        Background(sounds, known, ATTRIBUTION).save(out)
        kinds_ = json.dumps({kind: len(content) for kind, content in sounds.items()})
        typer.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {kinds_}")


if __name__ == "__main__":
    typer.run(main)
