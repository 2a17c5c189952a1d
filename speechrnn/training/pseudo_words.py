"""Pseudo-words, spliced from words and running speech: examples of `_unknown_` beyond any list of words."""

import numpy as np

from speechrnn.audio import SAMPLE_RATE
from speechrnn.evaluation.endpoints import loudest, word_endpoints
from speechrnn.level import rms
from speechrnn.training.synthetic_noise import shaped

FADE = SAMPLE_RATE // 100  # samples over which two sounds pass into each other, or one ends
FLOOR_FRAME = SAMPLE_RATE // 20  # samples; the quietest frame is the noise floor
FRAGMENT_SECONDS = 0.12, 0.3
PIECE_SECONDS = 0.2, 0.7
DIP_SECONDS = 0.08  # how far the end of a piece may move to a quieter moment


def spliced(rng: np.random.Generator, word: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A word with the loudest fragment of another before or behind it, perhaps in place of its first or last third.

    "be" and "yes" make "beyes", so that a part of a command is not enough. Both [samples] at 16 kHz; the result is as
    long as `word`.
    """
    start, end = (int(t * SAMPLE_RATE) for t in word_endpoints(word))
    part = loudest(other, int(rng.uniform(*FRAGMENT_SECONDS) * SAMPLE_RATE))
    part = part * (rms(word[start:end]) / max(rms(part), 1e-5) * rng.uniform(0.5, 1.2))
    lost = int(rng.uniform(0.0, 0.4) * (end - start))
    parts = (part, word[start + lost : end]) if rng.random() < 0.5 else (word[start : end - lost], part)
    return _placed(rng, _joined(*parts), len(word))


def fragment(rng: np.random.Generator, speech: np.ndarray, samples: int) -> np.ndarray:
    """A stretch of running speech as long as a word, between quiet moments [samples].

    It is reversed one time in four: a voice, and no language.
    """
    length = int(rng.uniform(*PIECE_SECONDS) * SAMPLE_RATE)
    start = int(rng.integers(max(1, len(speech) - length)))
    start, end = (_quietest_near(speech, at) for at in (start, start + length))
    cut = speech[start:end].astype(np.float32)
    return _placed(rng, cut[::-1] if rng.random() < 0.25 else cut, samples)


def noise_floor(rng: np.random.Generator, sound: np.ndarray, samples: int) -> np.ndarray:
    """Noise with the level and spectrum of the quietest moment of a sound [samples].

    Without it, the digital silence around pseudo-words would tell them from recorded words.
    """
    frames = sound[: len(sound) // FLOOR_FRAME * FLOOR_FRAME].reshape(-1, FLOOR_FRAME)
    quiet = frames[np.square(frames).mean(axis=1).argmin()] if len(frames) else np.zeros(FLOOR_FRAME, np.float32)
    spectrum = np.abs(np.fft.rfft(quiet * np.hanning(FLOOR_FRAME)))
    gains = np.interp(np.fft.rfftfreq(samples), np.fft.rfftfreq(FLOOR_FRAME), spectrum)
    noise = shaped(rng, gains, samples)
    return (noise * (rms(quiet) / max(rms(noise), 1e-12))).astype(np.float32)


def _quietest_near(sound: np.ndarray, at: int) -> int:
    """The start of the quietest frame of FADE samples around a moment."""
    reach = int(DIP_SECONDS * SAMPLE_RATE)
    first = max(0, at - reach)
    near = sound[first : at + reach]
    frames = len(near) // FADE
    if not frames:
        return min(at, len(sound))
    power = np.square(near[: frames * FADE], dtype=np.float64).reshape(frames, FADE).mean(axis=1)
    return first + int(power.argmin()) * FADE


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    overlap = min(FADE, len(first), len(second))
    rise = np.linspace(0.0, 1.0, overlap, dtype=np.float32)
    middle = first[len(first) - overlap :] * (1.0 - rise) + second[:overlap] * rise
    return np.concatenate([first[: len(first) - overlap], middle, second[overlap:]])


def _placed(rng: np.random.Generator, sound: np.ndarray, samples: int) -> np.ndarray:
    """Somewhere in digital silence, with soft ends [samples]."""
    sound = sound[:samples].astype(np.float32)
    fade = min(FADE, len(sound))
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    sound[:fade] *= ramp
    sound[len(sound) - fade :] *= ramp[::-1]
    start = int(rng.integers(samples - len(sound) + 1))
    canvas = np.zeros(samples, np.float32)
    canvas[start : start + len(sound)] = sound
    return canvas
