"""Google's speech embedding with a new head: a teacher, which has heard far more than we have.

The network of Lin et al. 2020, "Training keyword spotters with limited and synthesized speech data" (arXiv:2002.01322):
twenty convolutions without padding in time, so an embedding every eight frames, of 76 frames. It is taught further on
our words (`python -m data_scripts.teacher` gives its first weights), and hears a whole clip at once.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.errors import ConfigError
from speechrnn.training.config import FrontEndConfig, NetworkConfig
from speechrnn.training.hints import EMBEDDING_SIZE
from speechrnn.training.whole_clip import WholeClip

BANDS = 32
WIDTHS = (24, 48, 72, 96, 96)  # channels of each stage: four convolutions (three in the first), and a pool
POOLS = ((2, 2), (1, 2), (2, 2), (1, 2), (2, 2))  # of each stage: frames, bands
HEAD_UNITS = 128
PADDING = 38  # silent frames before and behind a clip, so that its beginning and its end fill windows too
DYNAMIC_RANGE = 8.0  # in powers of ten below the loudest: quieter bands are raised to that
FULL_SCALE = 2.0 + 2.0 * math.log10(32768.0)  # where it learnt, samples were integers of 16 bits, and 2 was added


class _Rectified(nn.Module):
    """The greater of leaky ReLU and -0.4."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2).clamp(min=-0.4)


def _convolutions() -> nn.Sequential:
    """[batch, 1, frames, 32] -> [batch, 96, windows, 1]; the kernels in the order of the published graph."""
    layers: list[nn.Module] = []
    inputs = 1
    for width, pool in zip(WIDTHS, POOLS, strict=True):
        kernels = [(1, 3), (3, 1)] * 2 if layers else [(3, 3), (1, 3), (3, 1)]
        for kernel in kernels:
            layers += [nn.Conv2d(inputs, width, kernel, padding=(0, kernel[1] // 2)), _Rectified()]
            inputs = width
        layers.append(nn.MaxPool2d(pool))
    layers.append(nn.Conv2d(inputs, EMBEDDING_SIZE, (3, 1), bias=False))
    stack = nn.Sequential(*layers)
    return nn.utils.convert_conv2d_weight_memory_format(stack, torch.channels_last)  # half the time on a CPU


class Embedding(WholeClip):
    """The embedding and its head; of the configuration it has `dropout`.

    Raises
    ------
    ConfigError
        if the front end has another number of bands
    """

    def __init__(self, config: NetworkConfig, front_end: FrontEndConfig, labels: int) -> None:
        super().__init__()
        if front_end.n_mels != BANDS:
            raise ConfigError(
                f"front_end.n_mels: is {front_end.n_mels}, but network.cell embedding hears {BANDS} bands"
            )
        self.input_norm = nn.Identity()
        self.convolutions = _convolutions()
        self.norm = nn.BatchNorm1d(EMBEDDING_SIZE)
        self.head = nn.Conv1d(EMBEDDING_SIZE, HEAD_UNITS, 3, padding=1)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(2 * HEAD_UNITS, labels)

    def embeddings(self, frames: Tensor) -> Tensor:
        """[batch, frames, 32] natural logarithms of power -> [batch, 96, windows]."""
        level = frames / math.log(10.0) + FULL_SCALE
        floor = level.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE
        level = level.maximum(floor)
        silence = floor.expand(-1, PADDING, level.shape[2])
        padded = torch.cat([silence, level, silence], dim=1)
        return self.convolutions(padded[:, None].contiguous(memory_format=torch.channels_last))[..., 0]

    def heard(self, frames: Tensor) -> Tensor:
        """Mean and maximum over the whole of what the head finds [batch, 2 * HEAD_UNITS]."""
        found = F.relu(self.head(self.dropout(self.norm(self.embeddings(frames)))))
        return torch.cat([found.mean(2), found.amax(2)], dim=1)

    def readout(self, states: Tensor) -> Tensor:
        """Logits of `states`; in training, what is dropped differs from block to block."""
        return self.output(self.dropout(states))
