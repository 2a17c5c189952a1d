"""Feature distillation: the recurrent states predict the embeddings of a larger network (FitNets, arXiv:1412.6550).

A regressor on the states is trained with the network, by the mean squared error at each moment, and is not exported.
`data_scripts.hints` computes the embeddings.
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
NO_EMBEDDINGS = torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0, EMBEDDING_SIZE)


def digests(clips: np.ndarray) -> Iterator[str]:
    """A hash of each clip int16 [clips, samples], by which its embeddings are found."""
    return (blake2b(clip.tobytes(), digest_size=8).hexdigest() for clip in clips)


class TeacherEmbeddings:
    """Embeddings of a teacher, float16 [clips, moments, EMBEDDING_SIZE]; `seconds` are the times of moments.

    Parameters
    ----------
    path : a file of `data_scripts.hints`
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
        """Blocks at whose ends there is an embedding, int64 [rows, moments], and embeddings [rows, moments, size].

        `clips` [rows] below 0 are no clips: their blocks are -1. `starts` [rows] are the samples at which the clips
        begin in rows of `length` samples.
        """
        ends = (self.seconds * SAMPLE_RATE + starts[:, None]) / block_length
        moments = np.clip(np.rint(ends).astype(np.int64) - 1, 0, length // block_length - 1)
        rows = np.asarray(clips)
        known = rows >= 0
        moments[~known] = -1
        found = np.zeros((len(rows), *self.embeddings.shape[1:]), np.float32)
        found[known] = self.embeddings[rows[known]]
        return torch.from_numpy(moments), torch.from_numpy(found)


class Regressor(nn.Module):
    """Predicts embeddings from the states of the recurrent stack."""

    def __init__(self, state_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(state_size, REGRESSOR_UNITS), nn.ReLU(), nn.Linear(REGRESSOR_UNITS, EMBEDDING_SIZE)
        )

    def forward(self, states: Tensor, moments: Tensor, embeddings: Tensor) -> Tensor:
        """Squared errors [known moments, EMBEDDING_SIZE]; states [rows, blocks, hidden], others as of `batch`."""
        rows, columns = torch.nonzero(moments >= 0, as_tuple=True)
        predicted = self.layers(states[rows, moments[rows, columns]].float())
        return F.mse_loss(predicted, embeddings[rows, columns], reduction="none")
