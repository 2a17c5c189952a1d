"""Export a checkpoint to one ONNX file with its model card.

Before the file is written, the graph must agree with torch on random lengths, batch sizes and splits into blocks.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from speechrnn import card
from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ModelError
from speechrnn.evaluation import corpus
from speechrnn.export.graph import build
from speechrnn.files import write
from speechrnn.inference import session
from speechrnn.training import checkpoint
from speechrnn.training.network import Recognizer

TOLERANCE = 1e-5


def model_card(model: Recognizer, content: dict[str, Any], threshold: float = card.THRESHOLD) -> card.Card:
    """The card of a checkpoint."""
    config = model.config
    words = tuple(label for label in model.labels if label not in (corpus.UNKNOWN, card.SILENCE))
    figures = {"parameters": sum(p.numel() for p in model.parameters())}
    if content.get("history"):
        figures["validation_accuracy"] = round(content["history"][-1]["validation_accuracy"], 5)
    return card.Card(
        name=config.name,
        labels=model.labels,
        words=words,
        sample_rate=SAMPLE_RATE,
        block_length=model.block_length,
        state_size=model.state_size,
        front_end=asdict(config.front_end),
        network=asdict(config.network),
        tail_seconds=config.tail_seconds,
        smoothing_seconds=card.SMOOTHING_BLOCKS * model.block_length / SAMPLE_RATE,
        thresholds=dict.fromkeys(words, threshold),
        hysteresis=card.HYSTERESIS,
        refractory_seconds=card.REFRACTORY_SECONDS,
        training_data=config.data.sources,
        figures=figures,
    )


def parity(model: Recognizer, graph: bytes, trials: int = 12, seed: int = 0) -> float:
    """The largest difference in probability between torch, fed whole, and the graph, fed in random pieces.

    Sound is noise and tones at random levels, 1 to 150 blocks, 1 to 5 sounds at a time.
    """
    exported = session(graph)
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(trials):
        batch, blocks = int(rng.integers(1, 6)), int(rng.integers(1, 151))
        samples = blocks * model.block_length
        tone = np.sin(np.arange(samples) * rng.uniform(0.01, 1.0, (batch, 1)))
        sound = (tone + rng.standard_normal((batch, samples))) * 10.0 ** rng.uniform(-3.0, -0.5, (batch, 1))
        sound = sound.astype(np.float32)
        with torch.no_grad():
            expected, _ = model(torch.from_numpy(sound), torch.zeros(batch, model.state_size))
        state, rows = np.zeros((batch, model.state_size), np.float32), []
        cuts = np.unique(rng.integers(1, blocks + 1, int(rng.integers(1, 8))))
        for piece in np.split(sound, cuts * model.block_length, axis=1):
            if piece.shape[1]:
                row, state = exported.run(["probabilities", "next_state"], {"audio": piece, "state": state})
                rows.append(row)
        difference = np.abs(np.concatenate(rows, axis=1) - expected.numpy()).max()
        worst = float(np.maximum(worst, difference))  # max() would lose NaN
    return worst


def export(checkpoint_path: Path, model_path: Path, threshold: float = card.THRESHOLD) -> float:
    """Write the ONNX file of a checkpoint; returns the parity error.

    Raises
    ------
    ModelError
        if the checkpoint is no good, the graph differs from torch, or the file can't be written; then no file is left
    """
    model, content = checkpoint.recognizer(checkpoint_path)
    if not model.config.network.streamable:
        cell = model.config.network.cell
        raise ModelError(f"{checkpoint_path}: a network.cell of {cell!r} needs whole clips: it can't be exported")
    described = model_card(model, content, threshold)
    card.check(described, str(checkpoint_path))
    proto = build(model)
    onnx.helper.set_model_props(proto, {card.METADATA_KEY: described.to_json()})
    onnx.checker.check_model(proto, full_check=True)
    graph = proto.SerializeToString()
    error = parity(model, graph)
    if not error <= TOLERANCE:
        raise ModelError(f"{checkpoint_path}: the ONNX graph differs from torch by {error:.1e}: nothing is written")
    write(model_path, graph)
    return error
