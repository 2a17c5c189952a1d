"""Base of networks that need a whole clip, and so can't work on a stream: DS-CNN, Whisper."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from speechrnn.training.config import HOPS_PER_BLOCK


class WholeClip(nn.Module, ABC):
    """Frames [batch, 2 * blocks, n_mels] -> logits [batch, blocks, labels], the same ones at each block.

    Called as `network.Network` is; its state is empty.
    """

    state_size = 0
    input_norm: nn.Module
    output: nn.Linear

    @abstractmethod
    def pooled(self, frames: Tensor) -> Tensor:
        """Features pooled over the clip [batch, hidden]."""

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the clip, repeated for each block."""
        states, _ = self.states(frames, state)
        return self.readout(states), state

    def states(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`pooled`, repeated for each block [batch, blocks, hidden]; the state is empty."""
        return self.pooled(frames)[:, None].expand(-1, frames.shape[1] // HOPS_PER_BLOCK, -1), state

    def readout(self, states: Tensor) -> Tensor:
        """Logits of `states`."""
        return self.output(states)
