"""Sounds of several kinds: noise, tones, what resembles speech, silence."""

import numpy as np
import torch

BLOCK = 320


RATE = 16_000


KINDS = ("noise", "tones", "speech", "silence and speech")


def noise(samples, seed=0):
    """Its level changes from block to block. A voice is in it: noise alone leaves the model cold."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(-4.0, -0.3, -(-samples // BLOCK))
    hiss = rng.standard_normal(samples) * np.repeat(level, BLOCK)[:samples]
    return (hiss + speech(samples, seed)).astype(np.float32)


def tones(samples, seed=0):
    """Four that glide. A voice is among them: tones alone leave the model cold, too."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    voices = [np.sin(2 * np.pi * (f + 200 * np.sin(3 * time)) * time) for f in rng.uniform(100, 4000, 4)]
    return (0.2 * np.sum(voices, axis=0) + speech(samples, seed)).astype(np.float32)


def speech(samples, seed=0):
    """Syllables of a voice: harmonics of a gliding pitch under three formants, with hiss between them."""
    rng = np.random.default_rng(seed)
    parts, length = [np.zeros(0)], 0
    while length < samples:
        count = int(rng.integers(1200, 4000))
        time = np.arange(count) / RATE
        phase = 2 * np.pi * np.cumsum(np.linspace(*rng.uniform(90, 220, 2), count)) / RATE
        formants = rng.uniform((300, 800, 2200), (900, 2400, 3300))
        voice = np.zeros(count)
        for harmonic in range(1, 30):
            frequency = harmonic * 150
            strength = np.exp(-(((frequency - formants) / 150) ** 2)) @ (1.0, 0.6, 0.3)
            voice += strength * np.sin(harmonic * phase)
        hiss = np.diff(rng.standard_normal(int(rng.integers(1, 1600))), prepend=0.0) * rng.uniform(0, 0.1)
        parts += [0.3 * voice * np.sin(np.pi * time / time[-1]), hiss]
        length += count + len(hiss)
    return np.concatenate(parts)[:samples].astype(np.float32)


def sound(kind, samples, seed=0):
    if kind == "silence and speech":
        return np.concatenate([np.zeros(samples // 2, np.float32), speech(samples - samples // 2, seed)])
    return {"noise": noise, "tones": tones, "speech": speech}[kind](samples, seed)


def sounds(samples, seed=0, batch=1):
    """Noise with a slope, as speech has one: low frequencies are loud and high ones 40 dB below."""
    noise = torch.randn(batch, samples + 1, generator=torch.Generator().manual_seed(seed))
    return (0.1 * (noise[:, 1:] + 0.97 * noise[:, :-1])).contiguous()
