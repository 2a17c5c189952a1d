"""python -m data_scripts.synthesize DEST WORD...: words spoken by espeak-ng, flite or Kokoro, as 16 kHz WAV.

One clip a word, or, with --takes, many in other voices, speeds and pitches, to train on. Synthesize similar words
beside commands, so that a synthetic voice is no evidence of a command. espeak-ng has artificial voices, flite those of
four speakers; Kokoro is most natural, and takes half a second a word, the others a hundredth. With --accents Kokoro has
foreign accents.
"""

import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import soxr
import typer
from rich.progress import track

from data_scripts import accents, kokoro
from speechrnn import audio, text_files
from speechrnn.errors import InputError
from speechrnn.files import check_free, make_folder, write
from speechrnn.names import file_name
from speechrnn.programs import OverwriteOption, report_errors
from speechrnn.terminal import plain_console

CLIP_SECONDS = 1.0
PEAK = 0.5
ACCENTS = ("en-us", "en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
SPEAKERS = ("", *(f"+f{number}" for number in range(1, 6)), *(f"+m{number}" for number in range(1, 8)))
SPEEDS, PITCHES = (110, 200), (20, 80)


class Engine(StrEnum):
    """Synthesizers. The first two are names of programs and of Debian packages."""

    espeak_ng = "espeak-ng"
    flite = "flite"
    kokoro = "kokoro"


FLITE_VOICES = ("awb", "kal16", "rms", "slt")
USUAL_VOICES = {Engine.espeak_ng: "en-us", Engine.flite: "slt", Engine.kokoro: "af_heart"}
INTONATIONS = ("", ".", "!", "?", ",")  # of Kokoro, which takes them from what stands after the word
USUAL_SPEED, USUAL_PITCH, OCTAVE = 150, 50, 150  # words a minute; of 0 to 99; steps of pitch


def speak(
    word: str,
    voice: str,
    speed: int,
    pitch: int,
    engine: Engine = Engine.espeak_ng,
    folder: Path = kokoro.FOLDER,
) -> np.ndarray:
    """The word as float32 [samples] at 16 kHz: at least a second, the word in its middle.

    flite and Kokoro have no pitch: the sound is resampled, which moves formants too. Kokoro's files are in `folder`.

    Raises
    ------
    InputError
        if the engine is missing or knows no such voice
    """
    higher = 1.0 if engine is Engine.espeak_ng else 2.0 ** ((pitch - USUAL_PITCH) / OCTAVE)
    if engine is Engine.kokoro:
        sound = kokoro.read(folder).speak(word, voice, speed / USUAL_SPEED / higher)
    elif engine is Engine.espeak_ng:
        sound = _run([engine, "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", "--", word], word, voice)
    elif voice in FLITE_VOICES:
        stretch = f"duration_stretch={USUAL_SPEED / speed * higher}"
        sound = _run([engine, "-voice", voice, "--setf", stretch, "-o", "/dev/stdout", "-t", word], word, voice)
    else:  # flite itself would take another one, and not say so
        raise InputError(f"flite can't say {word!r} with voice {voice}: take one of {', '.join(FLITE_VOICES)}")
    if higher != 1.0:
        sound = soxr.resample(sound, audio.SAMPLE_RATE * higher, audio.SAMPLE_RATE)
    audible = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max(initial=0.0))
    if not len(audible):
        raise InputError(f"{engine} can't say {word!r} with voice {voice}: it is silent: give another word")
    sound = sound[audible[0] : audible[-1] + 1] * (PEAK / np.abs(sound).max())
    missing = max(0, int(CLIP_SECONDS * audio.SAMPLE_RATE) - len(sound))
    return np.pad(sound, (missing // 2, missing - missing // 2))


def _run(command: list[str], word: str, voice: str) -> np.ndarray:
    """Speech of a program that writes a WAV to its output."""
    engine = command[0]
    if not shutil.which(engine):
        raise InputError(f"{engine} is not installed: on Debian and Ubuntu, apt-get install {engine}")
    spoken = subprocess.run(command, capture_output=True, check=False)
    if spoken.returncode or not spoken.stdout:
        reason = spoken.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{engine} can't say {word!r} with voice {voice}: {reason[0] if reason else 'no sound'}")
    return audio.load(spoken.stdout)


def draw(engine: Engine, folder: Path, rng: np.random.Generator, accent: bool = False) -> tuple[str, str]:
    """A random voice, with or without an accent, and a mark after the word that gives it an intonation."""
    if engine is Engine.kokoro:
        voice, mark = "+".join(rng.choice(kokoro.read(folder).voices, 2)), str(rng.choice(INTONATIONS))
        return (f"{voice}@{rng.choice(accents.LANGUAGES)}" if accent else voice), mark
    parts = (FLITE_VOICES,) if engine is Engine.flite else (ACCENTS, SPEAKERS)
    return "".join(rng.choice(part) for part in parts), ""


def check_words(words: Sequence[str]) -> None:
    """Check that each word is the name of a file, and of no other word's.

    Raises
    ------
    InputError
        naming the word
    """
    spelled: dict[str, str] = {}
    for word in words:
        same = spelled.setdefault(file_name(word, "WORD").casefold(), word)
        if same != word:
            raise InputError(f"WORD {word}: has the same file as {same} where capital letters don't count: choose one")


def save(sound: np.ndarray, target: Path, overwrite: bool = False) -> None:
    """Write a WAV, whole or not at all; the folder is made if it isn't there.

    Raises
    ------
    InputError
        if it can't be written, or is there and `overwrite` is False
    """
    make_folder(target.parent)
    content = io.BytesIO()
    soundfile.write(content, sound, audio.SAMPLE_RATE, format="WAV", subtype="PCM_16")
    write(target, content.getvalue(), overwrite=overwrite)


def main(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the clips; made if it isn't there")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD...]", help="Words to be spoken", show_default=False)
    ] = None,
    listed: Annotated[Path | None, typer.Option("--list", help="A text file of more words, a line each")] = None,
    engine: Annotated[Engine, typer.Option(help="What speaks")] = Engine.espeak_ng,
    voice: Annotated[
        str | None,
        typer.Option(
            help="Of espeak-ng, as en-us, en-gb or en-us+f3 [default: en-us]; "
            f"of flite, {', '.join(FLITE_VOICES)} [default: slt]; "
            "of kokoro, as bm_fable, or af_heart+bm_fable for the one between them [default: af_heart], and with the "
            f"accent of another first language as bm_fable@german ({', '.join(accents.LANGUAGES)})",
            show_default=False,
        ),
    ] = None,
    speed: Annotated[int, typer.Option(min=80, max=450, help="Words a minute")] = USUAL_SPEED,
    pitch: Annotated[int, typer.Option(min=0, max=99, help="0 is low, 99 is high")] = USUAL_PITCH,
    takes: Annotated[
        int,
        typer.Option(min=0, help="That many of each word, DEST/WORD/0.wav and so on, in voices drawn at random"),
    ] = 0,
    with_accents: Annotated[
        bool, typer.Option("--accents", help="Of kokoro, each take with the accent of a first language drawn at random")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw of voices")] = 0,
    kokoro_folder: Annotated[
        Path, typer.Option("--kokoro", help=f"Folder with {kokoro.MODEL} and {kokoro.VOICES}")
    ] = kokoro.FOLDER,
    overwrite: OverwriteOption = False,
) -> None:
    """Have words spoken by espeak-ng, flite or Kokoro, a clip each, or many takes of each.

    Example: python -m data_scripts.synthesize examples yes no stop --voice en-us+f3

    Example: python -m data_scripts.synthesize ../data/words/flite well why --engine flite --takes 6

    Example: python -m data_scripts.synthesize ../data/words/kokoro own gone --engine kokoro --takes 5

    Example: python -m data_scripts.synthesize ../data/words/synthetic cough town --takes 12
    """
    with report_errors():
        chosen = list(words or [])
        if listed:
            lines = text_files.read(listed, "name a text file of words with --list").split("\n")
            chosen += [line.strip() for line in lines if line.strip()]
        if not chosen:
            raise InputError("WORD: name a word, or --list a file of them")
        check_words(chosen)
        if with_accents and (engine is not Engine.kokoro or not takes):
            raise InputError("--accents: goes with --engine kokoro and --takes")
        chosen = list(dict.fromkeys(chosen))  # a word that is named twice would replace itself
        names = [f"{word}/{take}" for word in chosen for take in range(takes)] or chosen
        there = filter(os.path.lexists, (dest / f"{name}.wav" for name in names))
        check_free(there, "DEST", overwrite, listed)
        rng = np.random.default_rng(seed)
        for word in track(chosen, "speaking", console=plain_console(stderr=True, quiet=not takes), transient=True):
            for take in range(takes):
                drawn, mark = draw(engine, kokoro_folder, rng, with_accents)
                drawn_speed, drawn_pitch = int(rng.integers(*SPEEDS)), int(rng.integers(*PITCHES))
                sound = speak(word + mark, drawn, drawn_speed, drawn_pitch, engine, kokoro_folder)
                save(sound, dest / word / f"{take}.wav", overwrite)
            if not takes:
                sound = speak(word, voice or USUAL_VOICES[engine], speed, pitch, engine, kokoro_folder)
                save(sound, dest / f"{word}.wav", overwrite)
                typer.echo(f"{dest / word}.wav: {len(sound) / audio.SAMPLE_RATE:.2f} s")


if __name__ == "__main__":
    typer.run(main)
