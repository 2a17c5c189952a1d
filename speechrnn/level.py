"""Levels of sound: root mean square, decibels, and noise at a signal-to-noise ratio."""

from typing import TypeVar

import numpy as np

FLOOR_DBFS = -120.0  # what digital silence is called
QUIETEST = 1e-5  # root mean square that noise counts as having at least, so that one can divide by it
Number = TypeVar("Number", float, np.ndarray)


def rms(samples: np.ndarray) -> float:
    """Root mean square of all samples, summed up in double precision; 0.0 of none.

    Examples
    --------
    >>> rms(np.array([3.0, -3.0]))
    3.0
    """
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean())) if samples.size else 0.0


def loudest_rms(samples: np.ndarray, length: int) -> float:
    """Root mean square of the loudest stretch of this length in a sound [samples], or of all of a shorter one."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    length = min(length, len(samples))
    return float(np.sqrt(max(0.0, (energy[length:] - energy[:-length]).max()) / length))


def dbfs(amplitude: float) -> float:
    """An amplitude in decibels of full scale, which is 1.0; FLOOR_DBFS at least.

    Examples
    --------
    >>> dbfs(0.1), dbfs(0.0)
    (-20.0, -120.0)
    """
    return max(FLOOR_DBFS, 20.0 * float(np.log10(max(amplitude, 1e-12))))


def db_to_amplitude(db: Number) -> Number:
    """The ratio of amplitudes that is so many decibels, of a number or of each in an array: 10 ** (db / 20).

    Examples
    --------
    >>> db_to_amplitude(-20.0)
    0.1
    """
    return 10.0 ** (db / 20.0)


def scale_to_snr(noise: np.ndarray, signal: np.ndarray, snr_db: float) -> np.ndarray:
    """Scale noise [samples] to a signal-to-noise ratio: its RMS is `snr_db` decibels below that of `signal` [samples].

    Examples
    --------
    >>> scale_to_snr(np.array([2.0, -2.0]), np.array([1.0, -1.0]), 20.0)
    array([ 0.1, -0.1])
    """
    return noise * (rms(signal) / max(rms(noise), QUIETEST) / db_to_amplitude(snr_db))
