"""Hints: what a network that has heard far more hears in our clips, for the recurrent stack to hear it too.

From the states of the recurrent stack a regressor guesses the embeddings that the other network gives, moment by moment
(FitNets, Romero et al. 2015, arXiv:1412.6550). After training it is thrown away. `data_scripts.hints` makes the file.
"""

import zipfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError

EMBEDDING_SIZE = 96
REGRESSOR_UNITS = 256
NO_HINTS = torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0, EMBEDDING_SIZE)


def digests(clips: np.ndarray) -> Iterator[str]:
    """What tells the clips int16 [clips, samples] apart, wherever they are kept."""
    return (blake2b(clip.tobytes(), digest_size=8).hexdigest() for clip in clips)


class Hints:
    """`embeddings` float16 [clips, moments, EMBEDDING_SIZE], and how far into the clip each moment is, in `seconds`.

    Parameters
    ----------
    path : what `data_scripts.hints` has written
    clips : int16 [clips, samples]

    Raises
    ------
    ConfigError
        if the file can't be read, or lacks some of the clips
    """

    def __init__(self, path: str, clips: np.ndarray) -> None:
        remedy = "make it with python -m data_scripts.hints, or leave data.hints out"
        try:
            with np.load(path) as content:
                names, embeddings, self.seconds = (content[name] for name in ("digests", "embeddings", "seconds"))
        except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
            raise ConfigError(f"data.hints: {path} can't be read ({error}): {remedy}") from None
        if embeddings.shape != (len(names), len(self.seconds), EMBEDDING_SIZE):
            raise ConfigError(f"data.hints: {path} holds embeddings of shape {embeddings.shape}: {remedy}")
        row_of = {name: row for row, name in enumerate(names.tolist())}
        rows = [row_of.get(name, -1) for name in digests(clips)]
        if -1 in rows:
            raise ConfigError(f"data.hints: {path} lacks {rows.count(-1)} of the {len(clips)} clips: {remedy}")
        self.embeddings = embeddings[rows]

    def batch(self, clips: Sequence[int], starts: np.ndarray, length: int, block_length: int) -> tuple[Tensor, Tensor]:
        """For each row the blocks at whose ends there is a hint int64 [rows, moments], and the hints float32.

        `clips` [rows] below 0 are no clips: their blocks are -1. `starts` [rows] are where clips begin in their rows,
        `length` is how long those are, both in samples.
        """
        ends = (self.seconds * SAMPLE_RATE + starts[:, None]) / block_length
        moments = np.clip(np.rint(ends).astype(np.int64) - 1, 0, length // block_length - 1)
        rows = np.asarray(clips)
        known = rows >= 0
        moments[~known] = -1
        hints = np.zeros((len(rows), *self.embeddings.shape[1:]), np.float32)
        hints[known] = self.embeddings[rows[known]]
        return torch.from_numpy(moments), torch.from_numpy(hints)


class Regressor(nn.Module):
    """Guesses hints from the states of the recurrent stack."""

    def __init__(self, state_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(state_size, REGRESSOR_UNITS), nn.ReLU(), nn.Linear(REGRESSOR_UNITS, EMBEDDING_SIZE)
        )

    def forward(self, states: Tensor, moments: Tensor, hints: Tensor) -> Tensor:
        """Squared errors [known moments, EMBEDDING_SIZE]; states [rows, blocks, hidden], the others as of `Hints`."""
        rows, columns = torch.nonzero(moments >= 0, as_tuple=True)
        guesses = self.layers(states[rows, moments[rows, columns]].float())
        return F.mse_loss(guesses, hints[rows, columns], reduction="none")
