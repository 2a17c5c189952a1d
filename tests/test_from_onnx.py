"""Training on from an ONNX file: its weights are read back, and the network infers what the file does."""

import io
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from rich.console import Console
from test_export import saved
from test_network import LABELS, SMALL, recognizer

from export import to_onnx
from export.quantize import Weights, smaller
from speechrnn import audio
from speechrnn.errors import ConfigError, ModelError
from speechrnn.model import Model
from speechrnn.training import config as settings
from speechrnn.training import from_onnx
from speechrnn.training.network import Recognizer
from speechrnn.training.objective import Teachers
from speechrnn.training.train import Run

CLIPS = ("yes", "go", "marvin")
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def clips(block_length=320):
    sounds = [audio.load(f"examples/{name}.wav") for name in CLIPS]
    length = min(map(len, sounds)) // block_length * block_length
    return np.stack([sound[:length] for sound in sounds])


def by_file(path):
    return Model(path).stream(len(CLIPS)).process(clips())


@torch.no_grad()
def by_torch(model):
    sound = torch.from_numpy(clips())
    return model.eval()(sound, sound.new_zeros(len(sound), model.state_size))[0].numpy()


def exported(folder, cell="gru", labels=LABELS):
    path = folder / f"{cell}.onnx"
    to_onnx.export(saved(folder / "best.pt", recognizer(cell, seed=3, labels=labels)), path)
    return path


def fresh(path, labels=None, **network):
    """A new network of the kind of a file."""
    torch.manual_seed(5)
    config = from_onnx.recognizer(str(path)).config
    return Recognizer(replace(config, network=replace(config.network, **network)), labels or Model(path).labels)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_network_comes_back_from_its_file(tmp_path, cell):
    path = exported(tmp_path, cell)
    model = from_onnx.recognizer(str(path))
    assert model.config.network.cell == cell
    np.testing.assert_allclose(by_torch(model), by_file(path), atol=1e-5)


@pytest.mark.parametrize("name", ["gru-12", "gru-12-small"])
def test_a_shipped_model_is_read_by_its_name_and_exported_again_as_it_was(tmp_path, name):
    model = from_onnx.recognizer(name)
    np.testing.assert_allclose(by_torch(model), by_file(name), atol=1e-5)
    to_onnx.export(saved(tmp_path / "again.pt", model), tmp_path / "again.onnx")
    np.testing.assert_allclose(by_file(tmp_path / "again.onnx"), by_file(name), atol=1e-5)


@pytest.mark.parametrize("weights", list(Weights))
def test_small_weights_are_read_as_the_numbers_that_the_runtime_uses(tmp_path, weights):
    small = tmp_path / "small.onnx"
    small.write_bytes(smaller(Model(exported(tmp_path)), weights).SerializeToString())
    np.testing.assert_allclose(by_torch(from_onnx.recognizer(str(small))), by_file(small), atol=1e-5)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.GRU):
            setattr(module, "p" if isinstance(module, torch.nn.Dropout) else "dropout", 0.0)
    return model


def test_statistics_that_are_measured_change_nothing_but_what_training_normalises_by(tmp_path):
    model = from_onnx.recognizer(str(exported(tmp_path)))
    before, sound = by_torch(model), torch.from_numpy(clips())
    from_onnx.measure_statistics(model, sound)
    np.testing.assert_allclose(by_torch(model), before, atol=1e-5)
    with torch.no_grad():
        in_training = without_dropout(model).train()(sound, sound.new_zeros(len(sound), model.state_size))[0]
    np.testing.assert_allclose(in_training, before, atol=1e-3)


def test_the_last_layer_takes_the_rows_of_labels_that_both_have(tmp_path):
    path = exported(tmp_path)
    first, *others = Model(path).labels
    labels = ("new", *reversed(others))
    model = fresh(path, labels)
    untouched, source = model.network.output.weight[0].clone(), from_onnx.recognizer(str(path))
    from_onnx.start(model, str(path))
    assert torch.equal(model.network.output.weight[0], untouched)
    for label in others:
        own, theirs = labels.index(label), source.labels.index(label)
        for name in ("weight", "bias"):
            assert torch.equal(
                getattr(model.network.output, name)[own], getattr(source.network.output, name)[theirs]
            ), label
    assert first not in labels


@pytest.mark.parametrize("change", [{"cell": "lstm"}, {"hidden_size": 9}, {"channels": 5}])
def test_another_network_is_refused_with_both_values_named(tmp_path, change):
    path = exported(tmp_path)
    ((name, value),) = change.items()
    before = getattr(from_onnx.recognizer(str(path)).config.network, name)
    with pytest.raises(
        ConfigError, match=rf"train\.start_from: .*network\.{name} {before}, this run {value}"
    ) as caught:
        from_onnx.start(fresh(path, **change), str(path))
    assert str(path) in str(caught.value)


def test_another_dropout_is_no_other_network(tmp_path):
    path = exported(tmp_path)
    model = fresh(path, dropout=0.5)
    from_onnx.start(model, str(path))
    np.testing.assert_allclose(by_torch(model), by_file(path), atol=1e-5)


def damaged(path, change):
    proto = onnx.load(path)
    change(proto)
    onnx.save(proto, path)
    return str(path)


def scale_logits(proto):
    """In a node of its own, which the weights say nothing of."""
    nodes = list(proto.graph.node)
    at = next(i for i, node in enumerate(nodes) if node.op_type == "Softmax")
    nodes.insert(at, onnx.helper.make_node("Mul", [nodes[at].input[0], "three"], ["scaled"]))
    nodes[at + 1].input[0] = "scaled"
    proto.graph.initializer.append(numpy_helper.from_array(np.array(3.0, np.float32), "three"))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def rename_weight(proto):
    next(tensor for tensor in proto.graph.initializer if tensor.name == "gru_0_B").name = "other"
    next(node for node in proto.graph.node if "gru_0_B" in node.input).input[3] = "other"


@pytest.mark.parametrize("change", [scale_logits, rename_weight, lambda proto: proto.metadata_props.pop()])
def test_a_foreign_file_is_refused_in_one_line(tmp_path, change):
    path = damaged(exported(tmp_path), change)
    with pytest.raises(ModelError, match=r"gru\.onnx") as caught:
        from_onnx.recognizer(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        from_onnx.recognizer("missing.onnx")


def test_a_teacher_may_be_a_file(tmp_path):
    path = exported(tmp_path)
    sound = torch.from_numpy(clips())
    of_checkpoint, of_file = (
        Teachers([str(source)], LABELS, CPU).posterior(sound) for source in (tmp_path / "best.pt", path)
    )
    np.testing.assert_allclose(of_file, of_checkpoint, atol=1e-5)
    with pytest.raises(ConfigError, match=r"train\.teachers: .*gru\.onnx has other labels"):
        Teachers([str(path)], ("other", *LABELS[1:]), CPU)


def test_a_run_begins_as_the_file_is(tmp_path):
    path = exported(tmp_path, labels=("low", "high", "_unknown_", "_silence_"))
    config = settings.Config(
        front_end=from_onnx.recognizer(str(path)).config.front_end,
        network=SMALL.network,
        data=replace(settings.DataConfig(), task="low,high"),
        stream=replace(settings.StreamConfig(), rows=0),
        train=replace(settings.TrainConfig(), start_from=str(path), accelerator="cpu", threads=1),
    )
    run = Run(config, tmp_path / "run", False, Console(file=io.StringIO()))
    np.testing.assert_allclose(by_torch(run.recognizer), by_file(path), atol=1e-5)
