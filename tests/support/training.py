"""Two words, a high tone and a low one, and the settings of a run that learns them."""

import io

import numpy as np
import pytest
import soundfile
from rich.console import Console

from speechrnn.audio import SAMPLE_RATE
from speechrnn.evaluation.partition import partition
from speechrnn.training import config
from speechrnn.training.train import Run

SETTINGS = """
name = "tones"
tail_seconds = 0.04

[network]
first_channels = 4
channels = 12
residual_layers = 1
features = 16
hidden_size = 24
layers = 2
dropout = 0.1

[data]
folder = {folder}
task = "high,low"
unknown_share = 1.0
silence_share = 0.5

[augment]
shift_seconds = 0.1
speed_probability = 0.1
speed_range = 0.05
gate_probability = 0.0
gain_probability = 0.1
gain_low_db = -6.0
noise_probability = 0.3
snr_low_db = 20.0
room_probability = 0.1
band_limit_probability = 0.05
eight_bit_probability = 0.05
frequency_masks = 1
frequency_mask_bands = 3
time_masks = 1
time_mask_frames = 5
long_batch_probability = 0.1

[stream]
rows = 0

[train]
epochs = 2
batch_size = 8
learning_rate = 0.008
average_decay = 0.5
workers = 0
threads = 1
seed = 7
accelerator = "cpu"
"""


def speakers(part, count):
    names = (f"{number:08x}" for number in range(10_000))
    return [name for name in names if partition(f"{name}_nohash_0.wav") == part][:count]


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Two words, a high tone and a low one; a third, noise in bursts, is no word of the task."""
    root = tmp_path_factory.mktemp("speech_commands")
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for word in ("high", "low", "bursts"):
        (root / word).mkdir()
        for name in speakers("training", 48) + speakers("validation", 12):
            if word == "bursts":
                sound = rng.standard_normal(SAMPLE_RATE) * (np.sin(2 * np.pi * 8 * time) > 0)
            else:
                sound = np.sin(2 * np.pi * time * {"high": 2500, "low": 400}[word] * rng.uniform(0.8, 1.25))
            envelope = np.exp(-0.5 * ((time - rng.uniform(0.4, 0.6)) / 0.12) ** 2)
            soundfile.write(root / word / f"{name}_nohash_0.wav", rng.uniform(0.1, 0.3) * envelope * sound, SAMPLE_RATE)
    (root / "_background_noise_").mkdir()
    hiss = rng.uniform(-0.02, 0.02, 8 * SAMPLE_RATE)
    soundfile.write(root / "_background_noise_" / "hiss.wav", hiss, SAMPLE_RATE)
    return root


@pytest.fixture(scope="module")
def config_file(data_folder):
    file = data_folder.parent / f"{data_folder.name}.toml"
    file.write_text(SETTINGS.format(folder=f'"{data_folder.as_posix()}"'), encoding="utf-8")
    return file


def start(config_file, folder, *overrides, resume=False):
    return Run(config.load(config_file, overrides), folder, resume, Console(file=io.StringIO(), width=150))
