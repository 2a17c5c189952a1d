"""The causal network: log-mel frames to one row of posteriors per 20 ms block, with the state of every layer passed on.

Causal 2-D convolutions (stride two over time, four over frequency), a recurrent stack (a GRU in the shipped models), a
linear layer. Nothing is pooled over time, so a stream of any length needs no window. The bidirectional GRU is a
baseline for whole clips.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.training.config import HOPS_PER_BLOCK, Config, FrontEndConfig, NetworkConfig
from speechrnn.training.ds_cnn import DSCNN
from speechrnn.training.front_end import FrontEnd
from speechrnn.training.whisper import Whisper
from speechrnn.training.whole_clip import WholeClip

WHOLE_CLIP = {"none": DSCNN, "whisper": Whisper}
CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN, "bigru": nn.GRU}


class CausalConvolution(nn.Module):
    """Causal convolution over (time, frequency), batch normalisation, ReLU.

    With `separable`, a depthwise convolution and a pointwise one (MobileNets, arXiv:1704.04861); where the shape stays,
    the input is added to the output (ResNet, arXiv:1512.03385).
    """

    def __init__(
        self, inputs: int, outputs: int, bands: int, kernel: tuple[int, int], stride: tuple[int, int], separable: bool
    ) -> None:
        super().__init__()
        self.past = kernel[0] - stride[0]  # input rows that the next output still needs
        self.tail_shape = (self.past, bands, inputs)
        self.output_bands = (bands - 1) // stride[1] + 1
        self.residual = inputs == outputs and stride == (1, 1)
        padding = (0, kernel[1] // 2)
        self.depthwise: nn.Module
        if separable:
            self.depthwise = nn.Conv2d(inputs, inputs, kernel, stride, padding, groups=inputs, bias=False)
            self.mix = nn.Conv2d(inputs, outputs, 1, bias=False)
        else:
            self.depthwise = nn.Identity()
            self.mix = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, rows: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, inputs, time, bands] after tail [batch, past, bands, inputs] -> output rows, next tail."""
        whole = torch.cat([tail.permute(0, 3, 1, 2), rows], dim=2).contiguous(memory_format=torch.channels_last)
        out = self.norm(self.mix(self.depthwise(whole)))
        next_tail = whole[:, :, whole.shape[2] - self.past :].permute(0, 2, 3, 1)
        return F.relu(out + rows if self.residual else out), next_tail


class Network(nn.Module):
    """Frames [batch, 2 * blocks, n_mels], state [batch, state_size] -> logits [batch, blocks, labels], next state."""

    def __init__(self, config: NetworkConfig, front_end: FrontEndConfig, labels: int) -> None:
        super().__init__()
        self.config = config
        self.bands = front_end.n_mels
        self.input_norm = nn.BatchNorm1d(front_end.n_mels)  # fixed numbers for each band, once trained
        first = CausalConvolution(1, config.first_channels, self.bands, (5, 5), (HOPS_PER_BLOCK, 2), False)
        second = CausalConvolution(config.first_channels, config.channels, first.output_bands, (3, 3), (1, 2), True)
        bands = second.output_bands
        convolutions = [first, second]
        for _ in range(config.residual_layers):
            convolutions.append(CausalConvolution(config.channels, config.channels, bands, (3, 3), (1, 1), True))
        self.convolutions = nn.ModuleList(convolutions)
        self.features = nn.Linear(config.channels * bands, config.features)
        self.dropout = nn.Dropout(config.dropout)
        self.cell = CELLS[config.cell](
            config.features,
            config.hidden_size,
            config.layers,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,  # it stands between layers
            bidirectional=not config.streamable,
        )
        self.output = nn.Linear(config.hidden_size * (1 if config.streamable else 2), labels)
        hidden = config.layers * config.hidden_size * {"lstm": 2, "bigru": 0}.get(config.cell, 1)
        tails = [math.prod(c.tail_shape) for c in convolutions]
        self.state_sizes = [*tails, hidden]

    @property
    def state_size(self) -> int:
        return sum(self.state_sizes)

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of each block, given all frames up to its end. Frames are log-mel, normalised by `input_norm`."""
        states, next_state = self.states(frames, state)
        return self.readout(states), next_state

    def states(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of the last recurrent layer [batch, blocks, hidden], and the next state."""
        *tails, hidden = state.split(self.state_sizes, dim=1)
        rows, next_state = frames[:, None], []
        for convolution, tail in zip(self.convolutions, tails, strict=True):
            rows, next_tail = convolution(rows, tail.unflatten(1, convolution.tail_shape))
            next_state.append(next_tail.flatten(1))
        features = F.relu(self.features(rows.permute(0, 2, 1, 3).flatten(2)))
        outputs, next_hidden = self._recur(self.dropout(features), hidden)
        return outputs, torch.cat([*next_state, next_hidden], dim=1)

    def readout(self, states: Tensor) -> Tensor:
        """Logits [batch, blocks, labels] of `states`."""
        return self.output(self.dropout(states))

    def _recur(self, features: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        if not self.config.streamable:
            return self.cell(features)[0], flat
        per_layer = flat.unflatten(1, (-1, self.config.hidden_size)).transpose(0, 1).contiguous()
        if self.config.cell == "lstm":
            outputs, (hidden, memory) = self.cell(features, tuple(per_layer.chunk(2)))
            per_layer = torch.cat([hidden, memory])
        else:
            outputs, per_layer = self.cell(features, per_layer)
        return outputs, per_layer.transpose(0, 1).flatten(1)


class Recognizer(nn.Module):
    """Audio to posteriors, as the exported ONNX graph: front end, network, softmax, one flat state."""

    def __init__(self, config: Config, labels: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.labels = tuple(labels)
        self.front_end = FrontEnd(config.front_end)
        kind = WHOLE_CLIP.get(config.network.cell, Network)
        self.network: Network | WholeClip = kind(config.network, config.front_end, len(labels))

    @property
    def block_length(self) -> int:
        """Samples in a block."""
        return self.config.front_end.block_length

    @property
    def state_size(self) -> int:
        return self.front_end.tail_length + self.network.state_size

    def forward(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Audio [batch, blocks * block_length], flat state -> probabilities [batch, blocks, labels], next state."""
        logits, next_state = self.logits(audio, state)
        return torch.softmax(logits, dim=-1), next_state

    def logits(self, audio: Tensor, state: Tensor, spec_augment: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """As `forward`, before the softmax; `spec_augment` is applied to the normalised frames."""
        states, next_state = self.states(audio, state, spec_augment)
        return self.network.readout(states), next_state

    def states(self, audio: Tensor, state: Tensor, spec_augment: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """As `logits`, before the last layer: the states of the recurrent stack [batch, blocks, hidden]."""
        tail, rest = state.split([self.front_end.tail_length, self.network.state_size], dim=1)
        # The front end has no parameters, and a power range over 100 dB doesn't fit into the 16 bits of autocast.
        with torch.no_grad(), torch.autocast(audio.device.type, enabled=False):
            frames, next_tail = self.front_end(audio, tail)
        frames = self.network.input_norm(frames.transpose(1, 2)).transpose(1, 2)
        states, next_rest = self.network.states(frames if spec_augment is None else spec_augment(frames), rest)
        return states, torch.cat([next_tail, next_rest], dim=1)
