"""Small checkpoints to learn from."""

import torch

from speechrnn.evaluation.corpus import task_labels
from speechrnn.training import checkpoint
from speechrnn.training.config import Config, NetworkConfig
from speechrnn.training.network import Recognizer

LABELS = task_labels("yes,no")


SMALL = NetworkConfig(first_channels=4, channels=4, residual_layers=0, features=8, hidden_size=8, layers=1, dropout=0.0)


CPU = torch.device("cpu")


def saved(path, labels=LABELS, seed=0, **settings):
    """A small recognizer as a checkpoint."""
    torch.manual_seed(seed)
    config = Config(network=SMALL, **settings)
    recognizer = Recognizer(config, labels)
    content = {"weights": recognizer.state_dict(), "config": config.to_dict(), "labels": list(labels)}
    checkpoint.save(path, content)
    return str(path)
