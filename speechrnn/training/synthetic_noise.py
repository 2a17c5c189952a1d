"""Synthetic noise: random music, machines, signals and knocks, where recorded noise is scarce.

The sounds are sums of partials and of shaped noise, as in any text on additive and subtractive synthesis (Roads,
The Computer Music Tutorial, 1996).
"""

import numpy as np

from speechrnn.audio import SAMPLE_RATE

SCALES = ((0, 2, 4, 7, 9), (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # semitones: pentatonic, major, minor


def synthetic_noise(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """One recording of a random kind, float32 [samples] at 16 kHz, with a peak between 0.1 and 1."""
    kinds = (music, music, machine, signals, knocks)
    sound = kinds[rng.integers(len(kinds))](rng, int(seconds * SAMPLE_RATE))
    return (sound * (rng.uniform(0.1, 1.0) / max(np.abs(sound).max(), 1e-9))).astype(np.float32)


def shaped(rng: np.random.Generator, gains: np.ndarray, samples: int) -> np.ndarray:
    """White noise through a filter: `gains` [samples // 2 + 1] are those of the frequencies of `np.fft.rfftfreq`."""
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * gains, samples)


def music(rng: np.random.Generator, samples: int) -> np.ndarray:
    """One to four instruments on a scale, perhaps with drums."""
    sound = np.zeros(samples)
    scale, root = SCALES[rng.integers(len(SCALES))], rng.uniform(55.0, 220.0)
    beat = 60.0 / rng.uniform(60.0, 180.0)
    for _ in range(rng.integers(1, 5)):
        octave, length = rng.integers(0, 4), beat * rng.choice([0.25, 0.5, 1.0, 2.0, 4.0])
        tone = _instrument(rng)
        step = int(rng.integers(len(scale)))
        for start in np.arange(0.0, samples / SAMPLE_RATE, length):
            step += int(rng.integers(-2, 3))
            if rng.random() < 0.2:  # a rest
                continue
            semitones = scale[step % len(scale)] + 12 * (octave + (step // len(scale)) % 2)
            _add(sound, tone(root * 2.0 ** (semitones / 12.0), length * rng.uniform(0.5, 1.5)), start)
    if rng.random() < 0.5:
        drums = [_burst(rng, low, high) for low, high in ((40.0, 150.0), (150.0, 4000.0), (4000.0, 7800.0))]
        for start in np.arange(0.0, samples / SAMPLE_RATE, beat / 2.0):
            _add(sound, drums[rng.integers(3)] * rng.uniform(0.2, 1.5), start)
    return sound


def machine(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Coloured noise that swells, over the hum of a motor."""
    time = np.arange(samples) / SAMPLE_RATE
    sound = _coloured(rng, samples)
    for _ in range(rng.integers(0, 3)):
        depth, rate = rng.uniform(0.0, 1.0), 10.0 ** rng.uniform(-1.0, 1.3)
        sound *= 1.0 - depth * (0.5 + 0.5 * np.sin(2.0 * np.pi * (rate * time + rng.random())))
    middle, swing, rate = rng.uniform(30.0, 400.0), rng.uniform(0.0, 0.2), rng.uniform(0.05, 2.0)
    pitch = middle * (1.0 + swing * np.sin(2.0 * np.pi * rate * time))
    phase = 2.0 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    for k in range(1, rng.integers(2, 20)):
        sound += rng.uniform(0.0, 1.0) / k * np.sin(k * phase)
    return sound


def signals(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Beeps, sirens and the calls of birds: tones whose pitch jumps or glides."""
    sound, start = 0.01 * rng.random() * _coloured(rng, samples), rng.uniform(0.0, 0.5)
    low = 10.0 ** rng.uniform(2.3, 3.5)
    while start < samples / SAMPLE_RATE:
        for _ in range(rng.integers(1, 8)):
            seconds = 10.0 ** rng.uniform(-1.5, -0.1)
            time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
            ends = low * 2.0 ** rng.uniform(-0.7, 1.0, 2)
            pitch = np.linspace(ends[0], ends[1], len(time)) if rng.random() < 0.6 else np.full(len(time), ends[0])
            pitch = pitch * (1.0 + rng.uniform(0.0, 0.1) * np.sin(2.0 * np.pi * rng.uniform(4.0, 30.0) * time))
            tone = np.sin(2.0 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)
            _add(sound, np.tanh(rng.uniform(1.0, 5.0) * tone) * np.sin(np.pi * time / seconds), start)
            start += seconds + rng.uniform(0.0, 0.1)
        start += rng.uniform(0.1, 2.0)
    return sound


def knocks(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Steps, keys, doors, dishes: short bursts that ring."""
    sound, start = 0.02 * rng.random() * _coloured(rng, samples), 0.0
    pause = 10.0 ** rng.uniform(-1.2, 0.3)
    while start < samples / SAMPLE_RATE:
        knock = _burst(rng, 60.0, rng.uniform(500.0, 7800.0))
        time = np.arange(len(knock)) / SAMPLE_RATE
        for _ in range(rng.integers(0, 5)):
            ring = np.sin(2.0 * np.pi * 10.0 ** rng.uniform(2.0, 3.7) * time)
            decay = 10.0 ** rng.uniform(-2.3, -0.7)
            _add(sound, rng.uniform(0.0, 0.5) * ring * np.exp(-time / decay), start)
        _add(sound, knock * rng.uniform(0.3, 1.0), start)
        start += pause * rng.uniform(0.3, 2.0)
    return sound


def _instrument(rng: np.random.Generator):
    """Notes of one timbre: a function of frequency (Hz) and length (seconds) -> [samples]."""
    partials = np.arange(1, rng.integers(2, 16))
    strengths = rng.uniform(0.2, 1.0, len(partials)) * partials ** -rng.uniform(0.3, 2.0)
    attack, decay = 10.0 ** rng.uniform(-2.7, -1.0), 10.0 ** rng.uniform(-1.0, 0.7)
    vibrato, rate = rng.uniform(0.0, 0.01) * (rng.random() < 0.5), rng.uniform(4.0, 7.0)

    def note(frequency: float, seconds: float) -> np.ndarray:
        time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        phase = 2.0 * np.pi * frequency * (time + vibrato / rate * np.sin(2.0 * np.pi * rate * time))
        audible = partials * frequency < SAMPLE_RATE / 2
        tone = (strengths[audible, None] * np.sin(partials[audible, None] * phase)).sum(axis=0)
        return tone * np.minimum(1.0, time / attack) * np.exp(-time / decay) * np.minimum(1.0, (seconds - time) / 0.02)

    return note


def _burst(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Noise between two frequencies that dies away within half a second at most."""
    samples = SAMPLE_RATE // 2
    frequency = np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE)
    noise = shaped(rng, (frequency >= low) & (frequency <= high), samples)
    decay = 10.0 ** rng.uniform(-2.3, -1.0)
    burst = noise * np.exp(-np.arange(samples) / SAMPLE_RATE / decay)
    return burst / np.abs(burst).max()


def _coloured(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Noise whose power falls with frequency by a random exponent, within a random band."""
    frequency = np.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE)
    shape = np.maximum(frequency, 20.0) ** -rng.uniform(0.0, 1.0)
    shape[frequency > 10.0 ** rng.uniform(2.5, 4.0)] *= 0.03
    sound = shaped(rng, shape, samples)
    return sound / np.abs(sound).max()


def _add(sound: np.ndarray, part: np.ndarray, seconds: float) -> None:
    """Add a part that begins at a moment; what goes beyond the end is lost."""
    start = int(seconds * SAMPLE_RATE)
    part = part[: max(0, len(sound) - start)]
    sound[start : start + len(part)] += part
