"""Streams: clips laid end to end in one sound file, with label tracks beside it.

Beside OUT.wav stand two label tracks: OUT.txt with the words between their endpoints (`word_endpoints`), and
OUT.clips.txt with the whole clips, `_unknown_` and `_silence_` among them. `speechrnn score` reads all three.

Level: without noise every clip stays as it was recorded. With noise every spoken clip is scaled so that its mean power
between the endpoints of its word is -26 dB of full scale (the nominal speech level of ITU-T P.56), and the noise runs
through the whole stream at `snr` dB below that, by its mean power over each piece of at most 30 s. Clips of silence
keep their level. So each word stands `snr` dB above the noise, whoever says it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from speechrnn import audio
from speechrnn.audio import SAMPLE_RATE
from speechrnn.card import SILENCE
from speechrnn.errors import AudioError, InputError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.endpoints import word_endpoints
from speechrnn.files import replacing
from speechrnn.labels import Label, write_labels
from speechrnn.level import db_to_amplitude, rms
from speechrnn.model import MIN_CLIP_SECONDS

SPEECH_LEVEL = -26.0  # dB below full scale, mean power
QUIETEST_NOISE = -80.0  # dB; pieces below it are no noise that could be brought to a level
NOISE_PIECE_SECONDS = 30.0
FADE = SAMPLE_RATE // 50  # samples at both ends of a piece of noise, so that it doesn't click
FORMATS = {".wav": "WAV", ".flac": "FLAC"}


def make_stream(
    clips: Sequence[corpus.Clip],
    *,
    seed: int = 0,
    gap: tuple[float, float] = (0.3, 2.0),
    seconds: float | None = None,
    noise: Iterable[np.ndarray] = (),
    snr: float | None = None,
    hiss: float | None = None,
) -> tuple[np.ndarray, list[Label], list[Label]]:
    """Lay clips end to end, in an order and with gaps drawn by `seed`; a gap stands before, between and after them.

    Parameters
    ----------
    clips : clips, as `corpus.evaluation_clips` gives them
    gap : two numbers >= 0
        shortest and longest gap in seconds; the sound in it is digital silence, or hiss, and noise if there is any
    seconds : number > 0, or None for all clips
        no clip begins that would end later
    noise : arrays [samples] at 16 kHz, float32
        repeated until the stream ends; used with `snr` only
    snr : number in dB, or None for no noise
    hiss : number in dB below full scale, or None
        mean power of white noise in the gaps, as an open microphone hears it before a word; the clips stay as they are

    Returns
    -------
    samples : np.ndarray [shape=(samples,), dtype=float32]
        at 16 kHz
    words : list of Label
        the words between their endpoints; without `_unknown_` and `_silence_`
    intervals : list of Label
        the clips from end to end, with their labels
    """
    rng, hissing = np.random.default_rng(seed), np.random.default_rng((seed, 1))

    def pause() -> np.ndarray:
        samples = round(rng.uniform(*gap) * SAMPLE_RATE)
        if hiss is None:
            return np.zeros(samples, np.float32)
        return (db_to_amplitude(hiss) * hissing.standard_normal(samples)).astype(np.float32)

    pieces: list[np.ndarray] = []
    words: list[Label] = []
    intervals: list[Label] = []
    position = 0  # samples
    for index in rng.permutation(len(clips)):
        clip, before = clips[index], pause()
        sound = _sound(clip)
        if seconds is not None and position + len(before) + len(sound) > seconds * SAMPLE_RATE:
            break
        first, last = word_endpoints(sound)
        if snr is not None and clip.label != SILENCE:
            sound = _at_level(sound, sound[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)], SPEECH_LEVEL)
        start = (position + len(before)) / SAMPLE_RATE
        position += len(before) + len(sound)
        pieces += [before, sound]
        intervals.append(Label(start, position / SAMPLE_RATE, clip.label))
        if clip.label not in (SILENCE, corpus.UNKNOWN):
            words.append(Label(start + first, start + last, clip.label))
    samples = np.concatenate([*pieces, pause()])
    if snr is not None:
        _add_noise(samples, noise, SPEECH_LEVEL - snr)
    return samples, words, intervals


def _sound(clip: corpus.Clip) -> np.ndarray:
    sound = clip.sound()
    samples = sound if isinstance(sound, np.ndarray) else audio.load(sound)
    if len(samples) < MIN_CLIP_SECONDS * SAMPLE_RATE:
        raise AudioError(f"{clip.path}: is {len(samples) / SAMPLE_RATE:.4f} s long, too short for a word")
    return samples


def _at_level(samples: np.ndarray, measured: np.ndarray, level: float) -> np.ndarray:
    """`samples` with the gain that brings `measured` to `level` dB; digital silence stays what it is."""
    loudness = rms(measured)
    return samples * np.float32(db_to_amplitude(level) / loudness) if loudness else samples


def _add_noise(samples: np.ndarray, noise: Iterable[np.ndarray], level: float) -> None:
    """Add noise of `level` dB to all of `samples`, in place, its recordings in turn."""
    usable = [piece for piece in noise if rms(piece) > db_to_amplitude(QUIETEST_NOISE)]
    if not usable:
        raise InputError("there is no noise but silence: give a folder of it")
    position, turn = 0, 0
    while position < len(samples):
        piece = usable[turn % len(usable)][: len(samples) - position]
        ramp = np.minimum(1.0, np.arange(1, len(piece) + 1, dtype=np.float32) / FADE)
        samples[position : position + len(piece)] += _at_level(piece, piece, level) * ramp * ramp[::-1]
        position, turn = position + len(piece), turn + 1


def held_out_noise(folder: Path, others: Path | None, seed: int) -> list[np.ndarray]:
    """Noise that is never trained on, in pieces of at most 30 s [samples], shuffled.

    Parameters
    ----------
    folder : Path
        in the layout of Speech Commands: the last fifth of each recording in its `_background_noise_`
    others : Path, or None
        folder of further recordings: those that `corpus.held_out` gives
    seed : int
        of the order
    """
    recordings = [(path, corpus.VALIDATION_NOISE_FROM) for path in corpus.noise_recordings(folder)]
    if others is not None:
        recordings += [(path, 0.0) for path in corpus.held_out(audio.sound_files(others))]
    length = round(NOISE_PIECE_SECONDS * SAMPLE_RATE)
    pieces = []
    for path, first in recordings:
        sound = audio.load(path)
        sound = sound[int(first * len(sound)) :]
        pieces += [sound[start : start + length] for start in range(0, len(sound), length)]
    order = np.random.default_rng(seed).permutation(len(pieces))
    return [pieces[i] for i in order]


def tracks(path: Path) -> tuple[Path, Path]:
    """Where the label tracks of a stream stand: its words, and its clips."""
    return path.with_suffix(".txt"), path.with_suffix(".clips.txt")


def save(
    path: Path, samples: np.ndarray, words: Iterable[Label], intervals: Iterable[Label], overwrite: bool = False
) -> None:
    """Write the sound with 16 bits, and its label tracks beside it; the sound comes last, so what is there is whole.

    The tracks are put in their places when the sound is written, so that those of another stream don't come between.

    Raises
    ------
    InputError
        if a file can't be written, or is there and `overwrite` is False
    """
    of_words, of_clips = tracks(path)
    with replacing(path, overwrite=overwrite) as file:
        try:  # by its name: soundfile doesn't pass on what goes wrong in a Python file
            soundfile.write(file.name, samples, SAMPLE_RATE, format=FORMATS[path.suffix.lower()], subtype="PCM_16")
        except soundfile.LibsndfileError as error:
            raise InputError(f"{path}: can't be written ({error}): name another place") from None
        write_labels(of_words, words, overwrite=overwrite)
        write_labels(of_clips, intervals, overwrite=overwrite)
