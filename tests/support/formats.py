"""Sound in the formats of files, and measures of what comes back."""

import io
import struct

import numpy as np
import pytest
import soundfile

from speechrnn import audio
from speechrnn.errors import AudioError


def tone(frequency: float, rate: int = 16_000, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(samples: int, level: float = 0.3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, samples).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = 16_000, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def wav(data_size: int, sound: bytes, riff_size: int | None = None, before: bytes = b"", after: bytes = b"") -> bytes:
    """16-bit mono 16 kHz WAV with any size in its headers, and other chunks in front of the sound or behind it."""
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + before
    body += b"data" + struct.pack("<I", data_size) + sound + after
    return b"RIFF" + struct.pack("<I", len(body) if riff_size is None else riff_size) + body


def level_at(samples: np.ndarray, frequency: float) -> float:
    """Amplitude of one frequency in the middle of a sound, where resampling filters have settled."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    window = np.hanning(len(middle))
    wave = np.exp(-2j * np.pi * frequency * np.arange(len(middle)) / audio.SAMPLE_RATE)
    return float(2 * abs((middle * window * wave).sum()) / window.sum())


def refusal(source, **limits) -> str:
    """The message of the error that both ways in raise: one line, starting with the name of the source."""
    with pytest.raises(AudioError) as error:
        audio.load(source, **limits)
    with pytest.raises(AudioError) as same:
        list(audio.blocks(source, **limits))
    message = str(error.value)
    assert message == str(same.value)
    assert len(message.splitlines()) == 1
    name = "<bytes>" if isinstance(source, bytes) else source.name if hasattr(source, "read") else str(source)
    assert message.startswith(f"{name}: ")
    return message
