"""The encoder of Whisper (Radford et al. 2022, arXiv:2212.04356; MIT), fine-tuned on our words as a teacher.

Its weights are pretrained on hundreds of thousands of hours of speech (`python -m data_scripts.teacher` converts them).
It has 8 (tiny) or 20 (base) million parameters, and takes a whole clip.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.errors import ConfigError
from speechrnn.training.config import FrontEndConfig, NetworkConfig
from speechrnn.training.whole_clip import WholeClip

BANDS = 80
HEAD_WIDTH = 64  # of attention, in every size
HEAD_UNITS = 128
POSITIONS = 150  # of 20 ms, of 1500: three seconds
DYNAMIC_RANGE = 8.0  # in powers of ten below the loudest: quieter bands are raised to that


class Whisper(WholeClip):
    """The encoder and a head; of the settings it uses `hidden_size`, `layers` (its size) and `dropout`.

    Raises
    ------
    ConfigError
        if the front end has another number of bands, or there is no such size
    """

    def __init__(self, config: NetworkConfig, front_end: FrontEndConfig, labels: int) -> None:
        super().__init__()
        if front_end.n_mels != BANDS:
            raise ConfigError(f"front_end.n_mels: is {front_end.n_mels}, but network.cell whisper takes {BANDS} bands")
        width = config.hidden_size
        if width % HEAD_WIDTH:
            raise ConfigError(f"network.hidden_size: is {width}; of network.cell whisper, tiny has 384 and base 512")
        self.input_norm = nn.Identity()
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(BANDS, width, 3, padding=1), nn.Conv1d(width, width, 3, stride=2, padding=1)]
        )
        self.positions = nn.Parameter(torch.zeros(POSITIONS, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // HEAD_WIDTH, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Conv1d(width, HEAD_UNITS, 3, padding=1)
        self.output = nn.Linear(2 * HEAD_UNITS, labels)

    def encoded(self, frames: Tensor) -> Tensor:
        """[batch, frames, 80] natural logarithms of power -> [batch, frames / 2, hidden_size]."""
        level = frames / math.log(10.0)
        level = level.maximum(level.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE)
        rows = (level + 4.0).transpose(1, 2) / 4.0
        for convolution in self.convolutions:
            rows = F.gelu(convolution(rows))
        rows = rows.transpose(1, 2) + self.positions[: rows.shape[2]]
        for layer in self.layers:
            rows = layer(rows)
        return self.norm(rows)

    def pooled(self, frames: Tensor) -> Tensor:
        """Mean and maximum over time of the features of the head [batch, 2 * HEAD_UNITS]."""
        found = F.relu(self.head(self.dropout(self.encoded(frames)).transpose(1, 2)))
        return torch.cat([found.mean(2), found.amax(2)], dim=1)

    def readout(self, states: Tensor) -> Tensor:
        """Logits of `states`; in training, dropout differs from block to block."""
        return self.output(self.dropout(states))
