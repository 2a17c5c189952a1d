"""Speech Commands in miniature: names of clips by partition, and hums, bursts and examples to fill them."""

import shutil

import numpy as np
import soundfile

from speechrnn.evaluation import corpus
from speechrnn.evaluation.partition import partition
from tests.support.command_line import ROOT

RATE = 16_000


HELD_OUT = next(name for name in map(str, range(40)) if partition(name) != "training")


TRAINED = next(name for name in map(str, range(40)) if partition(name) == "training")


def hum(path, seconds, level=0.05, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).clip(-9, 9), RATE)


def said(path, example):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "examples" / f"{example}.wav", path)


def little_of_everything(data):
    """In the layout that the command expects; a "go" is in the folder of "no"."""
    for word in ("yes", "no", "stop", "go", "marvin"):
        for i, name in enumerate((*VALIDATION[:2], TRAINING[0])):
            said(data / "speech_commands" / word / name, "go" if (word, i) == ("no", 1) else word)
    hum(data / "speech_commands" / corpus.BACKGROUND / "hum.wav", 20.0)
    for word, example in (("seven", "marvin"), ("two", "marvin"), ("yes", "yes")):
        said(data / "words" / "spoken_digits" / word / "0.wav", example)
    said(data / "words" / "spoken_digits" / "two" / "1.wav", "stop")
    said(data / "words" / "tuxpaint" / "animals" / f"{HELD_OUT}.wav", "marvin")
    said(data / "words" / "tuxpaint" / f"{HELD_OUT}.wav", "left")
    said(data / "words" / "tuxpaint" / f"{TRAINED}.wav", "stop")
    said(data / "speech" / "reader" / f"{HELD_OUT}-1-1.wav", "left")
    said(data / "speech" / "reader" / f"{TRAINED}-1-1.wav", "left")
    hum(data / "noise" / "rain" / f"{HELD_OUT}.wav", 10.0)
    said(data / "noise" / "rain" / f"{TRAINED}.wav", "left")
    hum(data / "noise" / "music_pyaudio" / f"{TRAINED}.wav", 0.5)
    return data


VALIDATION = [name for name in (f"{i:08x}_nohash_0.wav" for i in range(400)) if partition(name) == "validation"]


TRAINING = [name for name in (f"{i:08x}_nohash_0.wav" for i in range(40)) if partition(name) == "training"]


def burst(*stretches, seconds=1.0, level=0.3, floor=0.001, seed=0):
    """Quiet noise [samples], in which the stretches (start, end in seconds) are loud."""
    rng = np.random.default_rng(seed)
    sound = floor * rng.standard_normal(round(seconds * RATE))
    for start, end in stretches:
        first, last = round(start * RATE), round(end * RATE)
        sound[first:last] += level * rng.standard_normal(last - first)
    return sound.astype(np.float32)
