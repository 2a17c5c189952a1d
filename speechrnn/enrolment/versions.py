"""Versions of a take: as it is, and faster, slower, louder, quieter, in noise."""

from dataclasses import dataclass

import numpy as np

from speechrnn import audio
from speechrnn.enrolment.takes import RATE, Take
from speechrnn.evaluation.endpoints import FRAME
from speechrnn.level import db_to_amplitude, rms

LEAD_SECONDS, TRAIL_SECONDS = 1.0, 0.6  # around the word at least
SPEEDS = (0.92, 1.0, 1.09)
FIT_SNR_DB = (5.0, 25.0)
GAIN_DB = (-15.0, 6.0)
TEST_SNR_DB = 10.0


@dataclass(frozen=True)
class Version:
    """A sound [samples] with the word, and where it ends in it, in seconds."""

    sound: np.ndarray
    end: float


def surrounded(take: Take, random: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """The take with at least 1 s before the word and 0.6 s after it, filled up with noise as faint as its floor."""
    frames = len(take.sound) // FRAME
    levels = np.square(take.sound[: frames * FRAME]).reshape(frames, FRAME).mean(axis=1)
    floor = max(1e-4, float(np.sqrt(np.quantile(levels, 0.1))))
    before = max(0, round((LEAD_SECONDS - take.start) * RATE))
    after = max(0, round((take.end + TRAIL_SECONDS) * RATE) - len(take.sound))
    parts = [floor * random.standard_normal(before), take.sound, floor * random.standard_normal(after)]
    return np.concatenate(parts).astype(np.float32), take.start + before / RATE, take.end + before / RATE


def in_noise(
    sound: np.ndarray, start: float, end: float, noise: np.ndarray, snr_db: float, random: np.random.Generator
) -> np.ndarray:
    """A stretch of `noise` [samples] is added so that the word, from `start` to `end`, is `snr_db` louder."""
    first = int(random.integers(max(1, len(noise) - len(sound))))
    chosen = np.resize(noise[first : first + len(sound)], len(sound))
    level = rms(chosen)
    if level < 1e-5:
        chosen, level = random.standard_normal(len(sound)), 1.0
    word = rms(sound[round(start * RATE) : round(end * RATE)])
    return (sound + chosen * (word / level * db_to_amplitude(-snr_db))).astype(np.float32)


def for_fit(take: Take, noise: np.ndarray, random: np.random.Generator) -> list[Version]:
    """The take, and three versions of it in noise at 5 to 25 dB, at other speeds and levels."""
    sound, start, end = surrounded(take, random)
    made = [Version(sound, end)]
    for speed in SPEEDS:
        changed = sound
        if speed != 1.0:
            resample = audio.resampler(round(RATE * speed))
            changed = resample(sound, True)
        noisy = in_noise(changed, start / speed, end / speed, noise, random.uniform(*FIT_SNR_DB), random)
        gain = db_to_amplitude(random.uniform(*GAIN_DB))
        made.append(Version((noisy * gain).astype(np.float32), end / speed))
    return made


def for_test(take: Take, noise: np.ndarray, random: np.random.Generator, times: int = 2) -> list[Version]:
    """The take in noise at 10 dB, a few times."""
    sound, start, end = surrounded(take, random)
    return [Version(in_noise(sound, start, end, noise, TEST_SNR_DB, random), end) for _ in range(times)]
