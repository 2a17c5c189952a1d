"""Small untrained networks, and checkpoints of them."""

from dataclasses import replace

import torch

from speechrnn.training import checkpoint
from speechrnn.training.config import Config, FrontEndConfig, NetworkConfig, StreamConfig
from speechrnn.training.network import Recognizer


def saved(path, model, **more):
    content = {"weights": model.state_dict(), "config": model.config.to_dict(), "labels": list(model.labels)}
    checkpoint.save(path, content | more)
    return path


BLOCK = 320


LABELS = ("yes", "no", "_unknown_", "_silence_")


SMALL = Config(
    front_end=FrontEndConfig(n_mels=20),
    network=NetworkConfig(first_channels=4, channels=6, residual_layers=2, features=12, hidden_size=10, layers=2),
    stream=StreamConfig(rows=0),
)


def recognizer(cell="gru", seed=0, config=SMALL, labels=LABELS):
    """Random weights, normalised by the statistics of some sound, so that posteriors hang on what is heard."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Recognizer(replace(config, network=replace(config.network, cell=cell)), labels)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, std=0.3)
        with torch.no_grad():
            model.train()(sound(25, seed + 1, batch=2), torch.zeros(2, model.state_size))
            for norm in norms:
                norm.running_var.clamp_(min=0.05)  # a channel that is always zero would magnify rounding
            model.network.output.weight.mul_(8.0)
    return model.eval()


def sound(blocks, seed=0, batch=1):
    """Noise whose level and colour change from block to block, so that rows differ."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, blocks, BLOCK, generator=generator)
    level = 10.0 ** (-2.5 * torch.rand(batch, blocks, 1, generator=generator))
    smooth = torch.rand(batch, blocks, 1, generator=generator)
    return (level * (noise + smooth * noise.roll(1, dims=2))).flatten(1)
