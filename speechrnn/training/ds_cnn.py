"""DS-CNN, the usual network without recurrence (Zhang et al. 2017, "Hello Edge", arXiv:1711.07128), as a baseline.

A convolution, four depthwise-separable ones, the mean over time and frequency, a linear layer. It takes a whole clip:
in a stream, overlapping windows would be computed many times over.
"""

import torch
from torch import Tensor, nn

from speechrnn.training.config import FrontEndConfig, NetworkConfig
from speechrnn.training.whole_clip import WholeClip

SEPARABLE_LAYERS = 4


def _layer(convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU()]


class DSCNN(WholeClip):
    """The DS-CNN; of the settings it uses `channels` and `dropout`."""

    def __init__(self, config: NetworkConfig, front_end: FrontEndConfig, labels: int) -> None:
        super().__init__()
        channels = config.channels
        self.input_norm = nn.BatchNorm1d(front_end.n_mels)
        layers = _layer(nn.Conv2d(1, channels, (10, 4), (4, 2), (4, 1), bias=False), channels)
        for i in range(SEPARABLE_LAYERS):
            stride = 2 if i == 0 else 1
            depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
            layers += _layer(depthwise, channels)
            layers += _layer(nn.Conv2d(channels, channels, 1, bias=False), channels)
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(channels, labels)

    def pooled(self, frames: Tensor) -> Tensor:
        """The mean over time and frequency [batch, channels]."""
        picture = frames[:, None].contiguous(memory_format=torch.channels_last)
        return self.dropout(self.layers(picture).mean(dim=(2, 3)))
