"""BC-ResNet-2 (Kim et al. 2021, arXiv:2106.04140) with its published weights, as a teacher.

It classifies one second into the 35 words of Speech Commands. Words that a task lacks are summed to `_unknown_`; it has
no class for silence.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.audio import SAMPLE_RATE
from speechrnn.card import SILENCE
from speechrnn.errors import ConfigError, ModelError
from speechrnn.evaluation import corpus

SUB_BANDS = 5  # each with a normalisation of its own
STAGES = (  # input and output channels, blocks, stride over frequency, dilation over time
    (32, 16, 2, 1, 1),
    (16, 24, 2, 2, 2),
    (24, 32, 4, 2, 4),
    (32, 40, 4, 1, 8),
)
LAST_CHANNELS, LAST_GROUPS = 64, 20
WINDOW_LENGTH, HOP_LENGTH, BANDS, OFFSET = 1024, 512, 40, 1e-9


class SubSpectralNorm(nn.Module):
    """Batch normalisation of each of SUB_BANDS parts of the bands (Chang et al. 2021, arXiv:2103.13620)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels * SUB_BANDS)

    def forward(self, rows: Tensor) -> Tensor:
        """[batch, channels, bands, time] -> the same shape."""
        batch, channels, bands, time = rows.shape
        parts = rows.reshape(batch, channels * SUB_BANDS, bands // SUB_BANDS, time)
        return self.bn(parts).reshape(rows.shape)


class Block(nn.Module):
    """Broadcasted residual: convolution over frequency, then over time of the mean of all bands, added to each band."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.residual = inputs == outputs
        over_frequency = nn.Conv2d(outputs, outputs, (3, 1), (stride, 1), (1, 0), groups=outputs)
        before = [] if self.residual else [nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.f2 = nn.Sequential(*before, over_frequency, SubSpectralNorm(outputs))
        over_time = nn.Conv2d(outputs, outputs, (1, 3), 1, (0, dilation), (1, dilation), groups=outputs)
        self.f1 = nn.Sequential(over_time, nn.BatchNorm2d(outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """[batch, inputs, bands, time] -> [batch, outputs, bands / stride, time]."""
        features = self.f2(rows)
        out = features + self.f1(features.mean(2, keepdim=True))
        return F.relu(out + rows if self.residual else out)


class BCResNet(nn.Module):
    """Sound [batch, SAMPLE_RATE] -> logits [batch, 35] of `corpus.THIRTY_FIVE_WORDS`."""

    bands: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.input_conv = nn.Conv2d(1, STAGES[0][0], 5, (2, 1), 2)
        for stage, (inputs, outputs, blocks, stride, dilation) in enumerate(STAGES, 1):
            setattr(self, f"t{stage}", Block(inputs, outputs, stride, dilation))
            for block in range(1, blocks):
                setattr(self, f"n{stage}{block}", Block(outputs, outputs, 1, dilation))
        channels = STAGES[-1][1]
        self.dw_conv = nn.Conv2d(channels, channels, 5, groups=LAST_GROUPS)
        self.onexone_conv = nn.Conv2d(channels, LAST_CHANNELS, 1)
        self.head_conv = nn.Conv2d(LAST_CHANNELS, len(corpus.THIRTY_FIVE_WORDS), 1)
        bands = torchaudio.functional.melscale_fbanks(
            WINDOW_LENGTH // 2 + 1, 0.0, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE, norm=None, mel_scale="htk"
        )
        self.register_buffer("bands", bands, persistent=False)  # [bins, BANDS]
        self.register_buffer("window", torch.hann_window(WINDOW_LENGTH), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        spectrum = torch.stft(sound, WINDOW_LENGTH, HOP_LENGTH, window=self.window, return_complex=True)
        rows = torch.log2(spectrum.abs().square().transpose(1, 2) @ self.bands + OFFSET).transpose(1, 2)[:, None]
        for name, layer in self.named_children():
            rows = layer(rows)
            if name == "onexone_conv":
                rows = rows.mean(3, keepdim=True)
        return rows.flatten(1)


def is_published(path: str | Path) -> bool:
    """Whether a file holds the published weights, rather than a checkpoint of ours; False where it can't be read."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whoever reads it as a checkpoint says what is wrong
        return False
    return isinstance(weights, dict) and "head_conv.weight" in weights


def load(path: str | Path) -> BCResNet:
    """The network with its published weights, ready for evaluation.

    Raises
    ------
    ModelError
        if the file can't be read, or holds other weights
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network = BCResNet()
        network.load_state_dict(weights)
    except OSError as error:
        raise ModelError(
            f"{path}: can't be read ({error.strerror or error}): give the weights of BC-ResNet-2"
        ) from None
    except Exception:  # the unpickler meets damaged bytes with errors of every kind
        raise ModelError(f"{path}: does not hold the weights of BC-ResNet-2, or is damaged") from None
    return network.eval()


def check(labels: Sequence[str]) -> None:
    """Refuse a task whose labels the 35 words can't be mapped to.

    Raises
    ------
    ConfigError
        if it has a word that is none of the 35, or lacks `_unknown_` or `_silence_`
    """
    strange = [label for label in labels if label not in (*corpus.THIRTY_FIVE_WORDS, corpus.UNKNOWN, SILENCE)]
    strange += [label for label in (corpus.UNKNOWN, SILENCE) if label not in labels]
    if strange:
        raise ConfigError(f"train.teachers: BC-ResNet-2 can't teach this task, because of {', '.join(strange)}")


def map_labels(posterior: Tensor, labels: Sequence[str], silence: Tensor) -> Tensor:
    """Posterior [clips, 35] of the words -> [clips, labels], with `silence` [clips] for `_silence_`.

    Words that are no labels are summed to `_unknown_`, and all are scaled to what silence leaves.
    """
    matrix = posterior.new_zeros(len(corpus.THIRTY_FIVE_WORDS), len(labels))
    for row, word in enumerate(corpus.THIRTY_FIVE_WORDS):
        matrix[row, labels.index(word if word in labels else corpus.UNKNOWN)] = 1.0
    mapped = (posterior @ matrix) * (1.0 - silence)[:, None]
    mapped[:, labels.index(SILENCE)] = silence
    return mapped
