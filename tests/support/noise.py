"""Augmentation with everything off but what a test asks for."""

from dataclasses import replace

import numpy as np
import torch

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training.augment import Augment
from speechrnn.training.config import AugmentConfig

OFF = AugmentConfig(
    shift_seconds=0.0, speed_probability=0.0, gate_probability=0.0, gain_probability=0.0, noise_probability=0.0,
    room_probability=0.0, band_limit_probability=0.0, response_probability=0.0, eight_bit_probability=0.0,
    dropout_probability=0.0,
)  # fmt: skip


SECOND = SAMPLE_RATE


def no_noise(rng, samples):
    return None


def augmented(sounds, seed=0, noise=no_noise, length=None, tail=0, silent=None, beds=None, **changes):
    silent = np.zeros(len(sounds), bool) if silent is None else silent
    rng = np.random.default_rng(seed)
    augment = Augment(replace(OFF, **changes))
    return augment(rng, sounds, silent, noise, length or sounds.shape[1] + tail, tail, beds)[0]


def noise_clips(rows, seed=0, level=0.05):
    return level * torch.randn(rows, SECOND, generator=torch.Generator().manual_seed(seed))
