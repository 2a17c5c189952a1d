"""The recurrent states of a network while it hears sound as a stream."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechrnn.enrolment.graph import state_names
from speechrnn.errors import ModelError
from speechrnn.inference import session
from speechrnn.model import Model

PIECE_BLOCKS = 250  # of a stream at a time
SIDE_BY_SIDE = 8  # streams at a time: a recurrent layer is quicker with several
CARRIED_BLOCKS = 50  # each stream hears the last second of the one before it, and what it says of that isn't kept


@dataclass(frozen=True)
class Run:
    """What a network made of a sound, block by block."""

    states: np.ndarray  # float16 [blocks, units], of all recurrent layers side by side
    posteriors: np.ndarray  # float32 [blocks, labels]


class Trunk:
    """A network whose recurrent states can be read while it runs. Needs the package onnx.

    Raises
    ------
    ModelError
        if its graph isn't built as ours are
    """

    def __init__(self, model: Model) -> None:
        import onnx
        from onnx import helper

        self.model, self.card = model, model.card
        source = model.name
        self.names = state_names(model.card, source)
        self.units = len(self.names) * int(model.card.network["hidden_size"])
        proto = onnx.load_from_string(model.content)
        self.fingerprint = fingerprint(proto)
        if not set(self.names) <= {name for node in proto.graph.node for name in node.output}:
            raise ModelError(f"{source}: its graph lacks the states that its model card speaks of: export it again")
        for name in self.names:
            proto.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self.session = session(proto.SerializeToString())

    def run(self, sounds: Sequence[np.ndarray]) -> list[Run]:
        """Each sound [samples] from a fresh state; what is left of its last block is silence."""
        block = self.card.block_length
        made: dict[int, Run] = {}
        order = sorted(range(len(sounds)), key=lambda i: len(sounds[i]))
        for first in range(0, len(order), SIDE_BY_SIDE):
            chosen = order[first : first + SIDE_BY_SIDE]
            counts = [-(-len(sounds[i]) // block) for i in chosen]
            batch = np.zeros((len(chosen), max(counts) * block), np.float32)
            for row, i in enumerate(chosen):
                batch[row, : len(sounds[i])] = sounds[i]
            states, posteriors = self._run(batch)
            for row, (i, count) in enumerate(zip(chosen, counts, strict=True)):
                made[i] = Run(states[row, :count].copy(), posteriors[row, :count].copy())
        return [made[i] for i in range(len(sounds))]

    def stream(self, sound: np.ndarray) -> Run:
        """One long sound [samples], in a few streams side by side."""
        block = self.card.block_length
        blocks = -(-len(sound) // block)
        each = -(-blocks // SIDE_BY_SIDE)
        if each < 10 * CARRIED_BLOCKS:
            return self.run([sound])[0]
        padded = np.zeros((each * SIDE_BY_SIDE + CARRIED_BLOCKS) * block, np.float32)
        padded[CARRIED_BLOCKS * block :][: len(sound)] = sound
        rows = np.stack(
            [padded[i * each * block : ((i + 1) * each + CARRIED_BLOCKS) * block] for i in range(SIDE_BY_SIDE)]
        )
        states, posteriors = self._run(rows)
        states, posteriors = states[:, CARRIED_BLOCKS:], posteriors[:, CARRIED_BLOCKS:]
        return Run(states.reshape(-1, self.units)[:blocks], posteriors.reshape(-1, posteriors.shape[2])[:blocks])

    def _run(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[streams, samples] -> states [streams, blocks, units] as float16, posteriors [streams, blocks, labels]."""
        step = PIECE_BLOCKS * self.card.block_length
        state = np.zeros((len(batch), self.card.state_size), np.float32)
        states, posteriors = [], []
        for first in range(0, batch.shape[1], step):
            piece = {"audio": batch[:, first : first + step], "state": state}
            probabilities, state, *rows = self.session.run(["probabilities", "next_state", *self.names], piece)
            posteriors.append(probabilities)
            states.append(np.concatenate(rows, axis=2).transpose(1, 0, 2).astype(np.float16))
        return np.concatenate(states, axis=1), np.concatenate(posteriors, axis=1)


def fingerprint(proto) -> str:  # type: ignore[no-untyped-def]
    """Which trunk this is, whatever its output layer and its card: a digest of the weights below it."""
    digest = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda tensor: tensor.name):
        if tensor.name.startswith(("convolution_", "features_", "gru_", "lstm_", "rnn_")):
            digest.update(tensor.name.encode() + tensor.raw_data)
    return digest.hexdigest()[:16]
