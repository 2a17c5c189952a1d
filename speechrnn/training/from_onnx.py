"""Weights of an ONNX file of ours, read back into the torch network that it was exported from.

The inverse of the export. In a file, batch normalisation is folded into scales and biases, temperature and priors into
the output layer, and so they are read back: the network computes what the file does. int8 and float16 weights become
float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from speechrnn.errors import ConfigError, ModelError
from speechrnn.model import Model, located
from speechrnn.training import config as settings
from speechrnn.training.network import CausalConvolution, Network, Recognizer

RECURRENT = {  # cell: operator, torch's gate order -> ONNX's
    "gru": ("GRU", (1, 0, 2)),  # torch r, z, n; ONNX z, r, h
    "lstm": ("LSTM", (0, 3, 1, 2)),  # torch i, f, g, o; ONNX i, o, f, c
    "rnn": ("RNN", (0,)),
}
TOLERANCE = 1e-4  # of a posterior: more, and the file computes something else than its network
PROBE_SAMPLES = 8000  # about, of noise
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


def is_onnx(path: str) -> bool:
    """Whether a setting names an ONNX file, or a shipped model, rather than a checkpoint."""
    return located(path).suffix == ".onnx" if path else False


def recognizer(path: str) -> Recognizer:
    """The network of an ONNX file, or of a shipped model by its name, ready for evaluation.

    Raises
    ------
    ModelError
        if the file can't be read, isn't one of ours, or computes something else than the network that its card names
    """
    import onnx
    from onnx import numpy_helper

    exported = Model(path)
    card = exported.card
    stored = {tensor.name: tensor for tensor in onnx.load_model_from_string(exported.content).graph.initializer}

    def weight(name: str) -> Tensor:
        if f"{name}_int8" in stored:
            integers, scale = (numpy_helper.to_array(stored[f"{name}_{part}"]) for part in ("int8", "scale"))
            return torch.from_numpy(integers.astype(np.float32) * scale)
        tensor = stored[f"{name}_float16" if f"{name}_float16" in stored else name]
        return torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))

    with _checked(exported.name):
        model = Recognizer(
            settings.from_dict(
                {
                    "name": card.name,
                    "tail_seconds": card.tail_seconds,
                    "front_end": card.front_end,
                    "network": card.network,
                    "stream": {"rows": 0},
                }
            ),
            card.labels,
        ).eval()
        network = model.network
        assert isinstance(network, Network)  # no other can be exported
        tensors = dict(_tensors(network, weight))
        network.load_state_dict({**network.state_dict(), **tensors})
        if not _difference(exported, model) <= TOLERANCE:
            raise ValueError("computes something else")
    return model


@contextmanager
def _checked(name: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, AssertionError, RuntimeError, ValueError, TypeError, KeyError, IndexError):
        raise ModelError(
            f"{name}: its graph isn't that of the network on its card: give a file that speechrnn export has written"
        ) from None


def _tensors(network: Network, weight: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Entries of the network's state dict, normalisation as scale and bias alone."""
    yield from _scale_and_bias("input_norm", network.input_norm, weight("band_scale"), weight("band_bias"))
    for i, layer in enumerate(network.convolutions):
        assert isinstance(layer, CausalConvolution)
        name = f"convolutions.{i}"
        if isinstance(layer.depthwise, nn.Conv2d):
            yield f"{name}.depthwise.weight", weight(f"convolution_{i}_depthwise_weight")
        yield f"{name}.mix.weight", weight(f"convolution_{i}_mix_weight")
        bias = weight(f"convolution_{i}_bias")
        yield from _scale_and_bias(f"{name}.norm", layer.norm, torch.ones_like(bias), bias)
    yield "features.weight", weight("features_weight").flatten(1)
    yield "features.bias", weight("features_bias")
    cell = network.config.cell
    order = np.argsort(RECURRENT[cell][1])  # ONNX's gate order -> torch's
    for i in range(network.config.layers):
        bias, recurrence_bias = weight(f"{cell}_{i}_B")[0].chunk(2)
        parts = {
            "weight_ih": weight(f"{cell}_{i}_W")[0],
            "weight_hh": weight(f"{cell}_{i}_R")[0],
            "bias_ih": bias,
            "bias_hh": recurrence_bias,
        }
        for kind, tensor in parts.items():
            chunks = tensor.chunk(len(order))
            yield f"cell.{kind}_l{i}", torch.cat([chunks[gate] for gate in order])
    yield "output.weight", weight("output_weight").T
    yield "output.bias", weight("output_bias")


def _scale_and_bias(name: str, norm: nn.Module, scale: Tensor, bias: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A normalisation of mean 0 and variance 1, which `measure_statistics` gives those of its input."""
    assert isinstance(norm, NORMALISATIONS)
    yield f"{name}.running_mean", torch.zeros_like(bias)
    yield f"{name}.running_var", torch.full_like(bias, 1.0 - norm.eps)
    yield f"{name}.weight", scale
    yield f"{name}.bias", bias


@torch.no_grad()
def _difference(exported: Model, model: Recognizer) -> float:
    """The largest difference of a posterior between the file and the network, on a little noise."""
    blocks = max(2, PROBE_SAMPLES // model.block_length)
    sound = 0.1 * np.random.default_rng(0).standard_normal((1, blocks * model.block_length)).astype(np.float32)
    expected = exported.stream().process(sound)
    found, _ = model(torch.from_numpy(sound), torch.zeros(1, model.state_size))
    return float(np.abs(found.numpy() - expected).max())


def start(model: Recognizer, path: str) -> None:
    """Put the weights of an ONNX file into a new network: of the last layer the rows of labels that both have.

    Parameters
    ----------
    model : the network; labels that the file lacks stay as they were initialised
    path : the ONNX file, or the name of a shipped model

    Raises
    ------
    ModelError
        as `recognizer` does
    ConfigError
        if its front end, or the kind or size of its network, is another
    """
    source = recognizer(path)
    for table in ("front_end", "network"):
        theirs, ours = asdict(getattr(source.config, table)), asdict(getattr(model.config, table))
        for name in theirs.keys() - {"dropout"}:
            if theirs[name] != ours[name]:
                raise ConfigError(
                    f"train.start_from: {path} has {table}.{name} {theirs[name]}, this run {ours[name]}: set it so"
                )
    both = [label for label in model.labels if label in source.labels]
    own, other = ([labels.index(label) for label in both] for labels in (model.labels, source.labels))
    weights = source.state_dict()
    for name in ("network.output.weight", "network.output.bias"):
        rows = model.state_dict()[name].clone()
        rows[own] = weights[name][other]
        weights[name] = rows
    model.load_state_dict(weights)


@torch.no_grad()
def measure_statistics(model: Recognizer, audio: Tensor) -> None:
    """Give each normalisation the mean and variance of its input, without changing what the network computes.

    An ONNX file doesn't hold them, and in training mode a normalisation is by those of the batch.

    Parameters
    ----------
    model : in place
    audio : float32 [clips, samples], whole blocks, of the kind that is trained on
    """

    def measure(norm: nn.BatchNorm1d, inputs: tuple[Tensor]) -> None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0].double(), dim=axes, correction=0)
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = norm.bias.double() + (mean - norm.running_mean.double()) * scale
        for tensor, value in (
            (norm.running_mean, mean),
            (norm.running_var, variance),
            (norm.weight, scale * torch.sqrt(variance + norm.eps)),
            (norm.bias, bias),
        ):
            tensor.copy_(value)

    norms = [module for module in model.modules() if isinstance(module, NORMALISATIONS)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    training = model.training
    model.eval()(audio, audio.new_zeros(len(audio), model.state_size))
    model.train(training)
    for hook in hooks:
        hook.remove()
