"""The graph computes what torch computes, says so in its card, and isn't written where it doesn't."""

import json
import os
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

import speechrnn
from export import to_onnx as command
from speechrnn import card
from speechrnn.errors import ModelError
from speechrnn.export import to_onnx
from speechrnn.export.graph import build
from speechrnn.training.config import Config
from tests.support.command_line import run
from tests.support.networks import recognizer, saved
from tests.support.sound_kinds import sound

pytestmark = pytest.mark.usefixtures("one_thread")

BLOCK = 320
CELLS = ("gru", "lstm", "rnn")
KINDS = ("noise", "tones", "speech", "silence and speech")


@pytest.fixture(scope="module", params=CELLS)
def pair(request):
    """A network with random weights and statistics, and its graph in onnxruntime."""
    model = recognizer(request.param, seed=CELLS.index(request.param))
    session = onnxruntime.InferenceSession(build(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return SimpleNamespace(model=model, session=session)


@pytest.fixture
def trained(tmp_path):
    return saved(tmp_path / "best.pt", recognizer())


@torch.no_grad()
def by_torch(model, audio, state=None):
    state = np.zeros((len(audio), model.state_size), np.float32) if state is None else state
    return [t.numpy() for t in model(torch.from_numpy(audio), torch.from_numpy(state))]


def by_graph(session, audio, state):
    return session.run(["probabilities", "next_state"], {"audio": audio, "state": state})


def batch_of(kind, batch, blocks, seed):
    """Sounds that differ, tones over digital silence among them: there the transform's rounding would show first."""
    return np.stack([sound(kind, blocks * BLOCK, seed + i) for i in range(batch)])


# the graph


@pytest.mark.parametrize("kind", KINDS)
def test_the_posteriors_of_these_tests_vary(pair, kind):
    """Otherwise agreement would be cheap."""
    rows, _ = by_torch(pair.model, batch_of(kind, 3, 60, 0))
    assert np.ptp(rows, axis=1).max() > 0.02
    assert np.ptp(rows, axis=0).max() > 0.01


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 5), st.integers(1, 100), st.integers(0, 99), st.data())
def test_the_graph_agrees_with_torch(pair, kind, batch, blocks, seed, data):
    audio = batch_of(kind, batch, blocks, seed)
    expected, expected_state = by_torch(pair.model, audio)
    state, rows = np.zeros((batch, pair.model.state_size), np.float32), []
    cuts = np.array(sorted(data.draw(st.sets(st.integers(1, blocks), max_size=5))), int)
    for piece in np.split(audio, cuts * BLOCK, axis=1):
        if piece.size:
            row, state = by_graph(pair.session, piece, state)
            rows.append(row)
    np.testing.assert_allclose(np.concatenate(rows, axis=1), expected, atol=1e-5)
    np.testing.assert_allclose(state, expected_state, atol=1e-3)


def test_the_graph_goes_on_from_a_state_of_torch(pair):
    first, second = batch_of("speech", 2, 40, 1), batch_of("tones", 2, 40, 2)
    _, state = by_torch(pair.model, first)
    expected, _ = by_torch(pair.model, second, state)
    np.testing.assert_allclose(by_graph(pair.session, second, state)[0], expected, atol=1e-5)
    fresh, _ = by_graph(pair.session, second, np.zeros_like(state))
    assert np.abs(fresh - expected).max() > 1e-3


def test_a_network_of_the_shipped_size_agrees_too():
    model = recognizer(config=Config(), labels=speechrnn.load().labels)
    session = onnxruntime.InferenceSession(build(model).SerializeToString(), providers=["CPUExecutionProvider"])
    audio = batch_of("speech", 2, 80, 0)
    state = np.zeros((2, model.state_size), np.float32)
    np.testing.assert_allclose(by_graph(session, audio, state)[0], by_torch(model, audio)[0], atol=1e-5)


# the file


@pytest.mark.parametrize("cell", CELLS)
def test_an_exported_file_is_a_model_of_the_runtime(tmp_path, cell):
    network = recognizer(cell)
    target = tmp_path / "model.onnx"
    assert to_onnx.export(saved(tmp_path / "best.pt", network), target) <= 1e-5
    model = speechrnn.load(target)
    clip = batch_of("speech", 1, 50, 0)[0]
    padded = np.pad(clip, (0, len(model.posteriors(clip)) * BLOCK - len(clip)))[None]
    np.testing.assert_allclose(model.posteriors(clip), by_torch(network, padded)[0][0], atol=1e-5)
    assert model.classify(clip).label in network.labels
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "model.onnx"]


def test_the_card_tells_what_the_checkpoint_knows(tmp_path):
    network = recognizer()
    history = [{"validation_accuracy": accuracy} for accuracy in (0.5, 0.75, 0.625)]
    to_onnx.export(saved(tmp_path / "best.pt", network, history=history), tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    [text] = [p.value for p in proto.metadata_props if p.key == card.METADATA_KEY]
    told = card.from_json(text, "model.onnx")
    assert told.labels == network.labels
    assert told.words == ("yes", "no")
    assert (told.sample_rate, told.block_length, told.state_size) == (16_000, BLOCK, network.state_size)
    assert told.network["cell"] == "gru"
    assert told.front_end["n_mels"] == network.config.front_end.n_mels
    assert told.tail_seconds == network.config.tail_seconds
    assert told.figures["validation_accuracy"] == 0.625  # of the epoch whose weights these are
    assert told.figures["parameters"] == sum(p.numel() for p in network.parameters())


def test_the_same_checkpoint_gives_the_same_file(tmp_path, trained):
    for name in ("a.onnx", "b.onnx"):
        to_onnx.export(trained, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_command_says_how_close_it_is(tmp_path, trained):
    shown = export_command(trained, tmp_path / "model.onnx")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"{tmp_path / 'model.onnx'}: ")
    assert (tmp_path / "model.onnx").stat().st_size > 0


# what is refused


def export_command(*arguments):
    return run(*arguments, start=lambda: typer.run(command.main))


def refused(shown, *names):
    assert len(shown.stderr.splitlines()) == 1, shown.stderr
    assert all(str(name) in shown.stderr for name in names), shown.stderr
    assert shown.returncode == 2


def wrong_weight(proto):
    [tensor] = [t for t in proto.graph.initializer if t.name == "gru_1_R"]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 3, 2] += 0.2
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def reset_before_product(proto):
    """The known trap: ONNX's default GRU isn't torch's."""
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "linear_before_reset":
                attribute.i = 0


def forgets(proto):
    """Right for a whole sound; in pieces, the state never moves."""
    [node] = [n for n in proto.graph.node if "next_state" in n.output]
    node.CopyFrom(onnx.helper.make_node("Identity", ["state"], ["next_state"]))


def says_nan(proto):
    [tensor] = [t for t in proto.graph.initializer if t.name == "output_bias"]
    values = np.full(tensor.dims, np.nan, np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize("damage", [wrong_weight, reset_before_product, forgets, says_nan])
def test_a_graph_that_differs_from_torch_is_not_written(tmp_path, trained, monkeypatch, damage):
    def damaged(model):
        proto = build(model)
        damage(proto)
        return proto

    monkeypatch.setattr(to_onnx, "build", damaged)
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    refused(export_command(trained, target), trained, "differs from torch")
    assert list(target.parent.iterdir()) == []
    target.write_bytes(b"an older model")
    with pytest.raises(ModelError):
        to_onnx.export(trained, target)
    assert target.read_bytes() == b"an older model"
    assert list(target.parent.iterdir()) == [target]


def test_weights_that_are_not_numbers_are_not_exported(tmp_path):
    network = recognizer()
    with torch.no_grad():
        network.network.output.bias.fill_(torch.nan)
    broken = saved(tmp_path / "best.pt", network)
    refused(export_command(broken, tmp_path / "model.onnx"), broken)
    assert [p.name for p in tmp_path.iterdir()] == ["best.pt"]


class Code:
    """Something that runs when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def not_checkpoints(folder, network):
    good = {"weights": network.state_dict(), "config": network.config.to_dict(), "labels": list(network.labels)}
    return {
        "text": lambda path: path.write_text("weights"),
        "empty": lambda path: path.write_bytes(b""),
        "cut-off": lambda path: path.write_bytes(saved(path, network).read_bytes()[:5000]),
        "a-list": lambda path: torch.save([1, 2], path),
        "foreign": lambda path: torch.save({"state_dict": network.state_dict()}, path),
        "a-model": lambda path: torch.save(network, path),
        "code": lambda path: torch.save(good | {"history": Code(folder / "owned")}, path),
        "another-cell": lambda path: saved(path, network, config=recognizer("lstm").config.to_dict()),
        "whole-clips-only": lambda path: saved(path, recognizer("bigru")),
        "no-recurrence": lambda path: saved(path, recognizer("none")),
        "other-labels": lambda path: saved(path, network, labels=["yes"]),
        "unknown-setting": lambda path: saved(path, network, config={"colour": "blue"}),
        "config-a-list": lambda path: saved(path, network, config=[1]),
        "missing": lambda path: None,
        "folder": lambda path: path.mkdir(),
    }


@pytest.mark.parametrize("case", not_checkpoints(None, recognizer()))
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, case):
    path = tmp_path / "best.pt"
    not_checkpoints(tmp_path, recognizer())[case](path)
    refused(export_command(path, tmp_path / "model.onnx"), path)
    assert {p.name for p in tmp_path.iterdir()} <= {"best.pt"}


@pytest.mark.parametrize("place", ["missing/model.onnx", "best.pt/model.onnx", "folder", "n" * 300 + ".onnx"])
def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, trained, place):
    (tmp_path / "folder").mkdir()
    refused(export_command(trained, tmp_path / place), tmp_path / place)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["best.pt", "folder"]


def test_the_card_in_the_file_is_plain_json(tmp_path, trained):
    to_onnx.export(trained, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    assert json.loads({p.key: p.value for p in proto.metadata_props}["speechrnn"])["format_version"] == 1
