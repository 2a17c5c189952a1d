"""Smaller files keep the contract and the words, say what they are, and aren't written where they don't."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

import speechrnn
from benchmarks import family
from export import quantize as program
from speechrnn import audio
from speechrnn.export import comparison, quantize, to_onnx
from speechrnn.export.precision import Weights
from tests.support.command_line import MODELS, refused, run
from tests.support.networks import recognizer, saved
from tests.support.sound_kinds import sound

pytestmark = pytest.mark.usefixtures("one_thread")

BLOCK = 320
FRONT_END_LIMIT = 20_000  # bytes that the constants of the front end may take; what is beyond is not of the network
ROOT = Path(__file__).resolve().parents[1]


def tensors(proto):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def command(*arguments, module=program):
    return run(*arguments, start=lambda: typer.run(module.main))


@pytest.fixture(scope="module", params=["gru", "lstm", "rnn"])
def small(request, tmp_path_factory):
    """A file of each kind of cell, with random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    to_onnx.export(saved(folder / "best.pt", recognizer(request.param)), folder / "model.onnx")
    return speechrnn.load(folder / "model.onnx")


@pytest.fixture(scope="module")
def shipped_int8(tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "int8.onnx"
    shown = command(speechrnn.load().path, out)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"{out}: ")
    assert " 24 of 24 clips keep their label" in shown.stdout
    return speechrnn.load(out)


# the numbers


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.float32, (3, 4, 2), elements=st.floats(-100, 100, width=32)),
    st.integers(0, 2),
    st.booleans(),
)
def test_a_weight_is_within_half_a_step_of_its_channel(weight, axis, silent):
    weight = weight.copy()
    if silent:
        weight[(slice(None),) * axis + (0,)] = 0.0
    integers, scale = quantize.quantize(weight, axis)
    assert integers.dtype == np.int8
    assert integers.shape == weight.shape
    assert scale.dtype == np.float32
    assert scale.size == weight.shape[axis]
    assert np.abs(integers.astype(int)).max() <= 127
    assert (np.abs(integers * scale - weight) <= 0.5001 * scale + 1e-30).all()


def test_channels_have_their_own_scale():
    """One loud channel must not cost the quiet ones their precision."""
    weight = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32) * [[1], [1e-3], [10], [1]]
    integers, scale = quantize.quantize(weight.astype(np.float32), 0)
    assert (np.abs(integers).max(axis=1) == 127).all()
    assert scale[2, 0] > 1000 * scale[1, 0]


@pytest.mark.parametrize("kind", Weights)
def test_the_weights_of_the_network_are_stored_smaller_and_all_else_as_it_was(small, kind):
    before, proto = onnx.load(small.path), quantize.smaller(small, kind)
    old, new = tensors(before), tensors(proto)
    changed = set(old) - set(new)
    cell = small.card.network["cell"]
    assert changed >= {f"{cell}_{layer}_{part}" for layer in (0, 1) for part in "WR"}
    assert changed >= {"features_weight", "output_weight", "convolution_0_mix_weight", "convolution_1_depthwise_weight"}
    assert all(np.array_equal(old[name], new[name]) for name in set(old) - changed)
    for name in changed:
        stored = new[f"{name}_{kind}"]
        assert stored.dtype == {"int8": np.int8, "float16": np.float16}[kind]
        value = stored * new[f"{name}_scale"] if kind is Weights.int8 else stored.astype(np.float32)
        assert 0 < np.abs(value - old[name]).max() <= np.abs(old[name]).max() / 250
    nodes = proto.graph.node[-len(before.graph.node) :]
    assert list(nodes) == list(before.graph.node)
    assert {name for node in proto.graph.node[: -len(nodes)] for name in node.output} >= changed


@pytest.mark.parametrize("kind", Weights)
def test_the_graph_keeps_its_contract(small, kind):
    before, proto = onnx.load(small.path), quantize.smaller(small, kind)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.graph.input == before.graph.input
    assert proto.graph.output == before.graph.output
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", before.opset_import[0].version)]
    assert {node.domain for node in proto.graph.node} == {""}
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    heard = np.stack([sound("speech", 60 * BLOCK, seed) for seed in range(3)])
    state = fresh = np.zeros((3, small.card.state_size), np.float32)
    rows = []
    for piece in np.split(heard, [BLOCK, 7 * BLOCK, 40 * BLOCK], axis=1):
        row, state = session.run(["probabilities", "next_state"], {"audio": piece, "state": state})
        rows.append(row)
    whole = session.run(["probabilities"], {"audio": heard, "state": fresh})[0]
    np.testing.assert_allclose(np.concatenate(rows, axis=1), whole, atol=1e-5)
    exact = small.stream(3).process(heard)
    assert 1e-7 < np.abs(whole - exact).max() < {"int8": 0.1, "float16": 0.005}[kind]


@pytest.mark.parametrize("kind", Weights)
def test_onnxruntime_computes_the_weights_when_it_loads_the_file(kind, tmp_path):
    """So that a block costs what it cost before: the recurrent operators are given constants."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    content = quantize.smaller(speechrnn.load(), kind).SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    constants = {tensor.name for tensor in optimized.graph.initializer}
    recurrent = [node for node in optimized.graph.node if node.op_type == "GRU"]
    assert len(recurrent) == speechrnn.load().card.network["layers"]
    assert all({node.input[1], node.input[2]} <= constants for node in recurrent)
    assert not [name for name in constants if name.endswith((f"_{kind}", "_scale")) and name.startswith("gru")]


# the file


def test_an_int8_file_is_at_most_a_third(shipped_int8):
    model = speechrnn.load()
    old = {name: value.nbytes for name, value in tensors(onnx.load(model.path)).items()}
    network = sum(size for name, size in old.items() if quantize.channel_axis(name) is not None)
    stored = {name: value.nbytes for name, value in tensors(onnx.load(shipped_int8.path)).items()}
    assert sum(size for name, size in stored.items() if name not in old) <= 0.27 * network
    of_network = ("convolution", "features", "output", model.card.network["cell"])
    beyond = max(0, sum(size for name, size in old.items() if not name.startswith(of_network)) - FRONT_END_LIMIT)
    assert shipped_int8.path.stat().st_size - beyond <= (model.path.stat().st_size - beyond) / 3


def test_a_smaller_file_says_what_it_is(shipped_int8):
    shipped = speechrnn.load().card
    figures = shipped_int8.card.figures
    assert figures["weights"] == "int8"
    assert figures["label_agreement"] == 1.0
    assert 0 < figures["largest_probability_error"] < 0.1
    assert figures["compared_on"] == "24 clips"
    assert figures["parameters"] == shipped.figures["parameters"]
    assert figures["float32"]["validation_accuracy"] == shipped.figures["validation_accuracy"]
    assert "validation_accuracy" not in figures, "that was measured on another file"
    assert replace(shipped_int8.card, figures={}) == replace(shipped, figures={})
    shown = run("info", shipped_int8.path).stdout
    assert "weights: int8" in shown
    assert "label_agreement: 1.0" in shown


def test_it_hears_the_examples_as_before(shipped_int8):
    files = audio.sound_files(ROOT / "examples")
    model = speechrnn.load()
    assert [shipped_int8.classify(f).label for f in files] == [model.classify(f).label for f in files]


def test_the_same_file_comes_out_again(shipped_int8, tmp_path):
    assert command(speechrnn.load().path, tmp_path / "again.onnx").returncode == 0
    assert (tmp_path / "again.onnx").read_bytes() == shipped_int8.path.read_bytes()


def test_half_precision_keeps_more_and_saves_less(shipped_int8, tmp_path):
    shown = command(speechrnn.load().path, tmp_path / "half.onnx", "--weights", "float16")
    assert shown.returncode == 0
    half = speechrnn.load(tmp_path / "half.onnx")
    error = "largest_probability_error"
    assert half.card.figures["weights"] == "float16"
    assert half.card.figures[error] < shipped_int8.card.figures[error] / 4
    assert shipped_int8.path.stat().st_size < half.path.stat().st_size < 0.6 * speechrnn.load().path.stat().st_size


def test_real_clips_keep_their_label(validation_folder):
    [made] = quantize.exports(speechrnn.load(), [Weights.int8], validation_folder, "validation")
    compared = made.comparison
    assert compared.clips > 2500
    assert compared.agreement >= 0.995
    assert compared.accuracy >= compared.reference_accuracy - 0.003
    card = json.loads(next(p.value for p in onnx.load_from_string(made.content).metadata_props if p.key == "speechrnn"))
    assert card["figures"]["validation_accuracy"] == pytest.approx(compared.accuracy, abs=1e-5)
    assert card["figures"]["compared_on"] == f"{compared.clips} clips"


# the comparison


def test_a_model_agrees_with_itself():
    model = speechrnn.load()
    [same] = comparison.compare(model, [model], comparison.labelled_sounds(model))
    assert (same.agreement, same.largest_error, same.accuracy) == (1.0, 0.0, same.reference_accuracy)


def test_a_model_that_hears_other_words_is_found_out(tmp_path):
    """Its output columns are turned by one, so that every label is another."""
    proto = onnx.load(speechrnn.load().path)
    for tensor in proto.graph.initializer:
        if tensor.name in ("output_weight", "output_bias"):
            turned = np.roll(numpy_helper.to_array(tensor), 1, axis=-1)
            tensor.CopyFrom(numpy_helper.from_array(turned, tensor.name))
    onnx.save(proto, tmp_path / "turned.onnx")
    model, turned = speechrnn.load(), speechrnn.load(tmp_path / "turned.onnx")
    sounds = comparison.labelled_sounds(model)
    first, second = comparison.compare(model, [turned, model], sounds)
    assert first.same < len(sounds) / 4
    assert first.largest_error > 0.9
    assert first.accuracy < 0.2
    assert second.same == len(sounds)


def test_the_sounds_without_a_folder_hold_words_and_none():
    model = speechrnn.load()
    sounds = comparison.labelled_sounds(model)
    labels = {label for _, label in sounds}
    assert len(labels & set(model.card.words)) >= 4
    assert None in labels
    assert all(samples.dtype == np.float32 and np.isfinite(samples).all() for samples, _ in sounds)


# what is refused


def not_written(shown, folder, *names):
    refused(shown, *names)
    assert shown.stdout == ""
    assert list(folder.iterdir()) == []


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def coarse(weight, axis):
    scale = np.abs(weight).max() / np.float32(1.5)
    return np.rint(weight / scale).astype(np.int8), np.full((1,) * weight.ndim, scale, np.float32)


def no_numbers(weight, axis):
    return np.zeros(weight.shape, np.int8), np.full((1,) * weight.ndim, np.nan, np.float32)


@pytest.mark.parametrize(("damage", "reason"), [(coarse, "99.5%"), (no_numbers, "no probabilities")])
def test_a_file_that_hears_other_words_is_not_written(place, monkeypatch, damage, reason):
    monkeypatch.setattr(quantize, "quantize", damage)
    model = speechrnn.load().path
    not_written(command(model, place / "out.onnx"), place, model, reason, "nothing is written")
    (place / "out.onnx").write_bytes(b"an older model")
    assert command(model, place / "out.onnx").returncode == 2
    assert (place / "out.onnx").read_bytes() == b"an older model"


@pytest.mark.parametrize("case", MODELS)
def test_what_is_no_model_of_ours_is_refused(tmp_path, place, case):
    path = tmp_path / f"{case}.onnx"
    path.write_bytes(MODELS[case](onnx.load(speechrnn.load().path)))
    not_written(command(path, place / "out.onnx"), place, path)


@pytest.mark.parametrize("kind", Weights)
def test_a_file_whose_weights_are_smaller_already_is_refused(tmp_path, place, kind):
    small, card_lost = tmp_path / "small.onnx", tmp_path / "card-lost.onnx"
    assert command(speechrnn.load().path, small, "--weights", kind).returncode == 0
    not_written(command(small, place / "out.onnx"), place, small, "float32")
    proto = onnx.load(small)
    onnx.helper.set_model_props(proto, {"speechrnn": speechrnn.load().card.to_json()})
    onnx.save(proto, card_lost)
    not_written(command(card_lost, place / "out.onnx"), place, card_lost, "float32")


def with_tensor(name, change):
    def damage(proto, card):
        for tensor in proto.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
        return card

    return damage


def renamed(name):
    def damage(proto, card):
        for tensor in proto.graph.initializer:
            tensor.name = tensor.name.replace(name, "other")
        for node in proto.graph.node:
            node.input[:] = [text.replace(name, "other") for text in node.input]
        return card

    return damage


def with_network(**values):
    return lambda proto, card: replace(card, network=card.network | values)


NOT_OURS = {
    "another cell in the card": with_network(cell="lstm"),
    "another depth in the card": with_network(layers=3),
    "an unknown cell in the card": with_network(cell="transformer"),
    "no network in the card": lambda proto, card: replace(card, network={}),
    "a network that is a list": lambda proto, card: replace(card, network=["gru"]),
    "a recurrent weight under another name": renamed("gru_1_R"),
    "an output weight under another name": renamed("output_weight"),
    "a weight that is no number": with_tensor("features_weight", lambda value: value * np.float32(np.nan)),
    "an infinite weight": with_tensor("gru_0_W", lambda value: np.where(value == value.max(), np.inf, value)),
}


@pytest.mark.parametrize("case", NOT_OURS)
def test_a_graph_whose_weights_are_not_ours_is_refused(tmp_path, place, case):
    proto = onnx.load(speechrnn.load().path)
    card = NOT_OURS[case](proto, speechrnn.load().card)
    onnx.helper.set_model_props(proto, {"speechrnn": card.to_json()})
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    not_written(command(path, place / "out.onnx"), place, path)


@pytest.mark.parametrize("name", ["missing/out.onnx", "file/out.onnx", "folder", "n" * 300 + ".onnx"])
def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    refused(command(speechrnn.load().path, tmp_path / name), tmp_path / name)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder"]


def test_the_model_itself_is_not_written_over(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(speechrnn.load().path.read_bytes())
    refused(command(model, tmp_path / "folder" / ".." / "model.onnx"), "no folder")
    refused(command(model, model), model, "would replace what is read")
    assert model.read_bytes() == speechrnn.load().path.read_bytes()


@pytest.mark.parametrize("clips", ["missing", "empty", "broken", "file"])
def test_clips_that_cannot_be_used_are_refused(tmp_path, place, clips):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken" / "yes").mkdir(parents=True)
    (tmp_path / "broken" / "yes" / "clip.wav").write_text("no sound")
    (tmp_path / "file").write_text("no folder")
    shown = command(speechrnn.load().path, place / "out.onnx", "--clips", tmp_path / clips)
    not_written(shown, place, tmp_path / clips)


def test_a_failure_of_the_disk_leaves_no_file(place, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    not_written(command(speechrnn.load().path, place / "out.onnx"), place, "out.onnx", "No space left")


# the family


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The examples as a folder of clips, in the layout of Speech Commands."""
    folder = tmp_path_factory.mktemp("clips")
    for file in audio.sound_files(ROOT / "examples"):
        (folder / file.stem).mkdir()
        (folder / file.stem / file.name).write_bytes(file.read_bytes())
    return folder


def test_the_family_is_made_and_told_in_one_table(place, labelled):
    shown = command(speechrnn.load().path, place, "--clips", labelled, "--json", module=family)
    assert (shown.returncode, shown.stderr) == (0, "")
    rows = json.loads(shown.stdout)
    stem = speechrnn.load().path.stem
    names = [f"{stem}.onnx", f"{stem}-int8.onnx", f"{stem}-float16.onnx"]
    assert [Path(row["file"]).name for row in rows] == names
    assert sorted(p.name for p in place.iterdir()) == sorted(names[1:])
    assert all(row["clips"] == len(list(labelled.iterdir())) for row in rows)
    assert all(row["label_agreement"] == 1.0 and row["accuracy"] == 1.0 for row in rows)
    assert [row["MB"] for row in rows] == [Path(row["file"]).stat().st_size / 1e6 for row in rows]
    assert rows[0]["size_ratio"] == rows[0]["block_ratio"] == rows[0]["clip_ratio"] == 1.0
    assert all(0 < row["block_ms"] < row["clip_ms"] for row in rows)
    assert rows[1]["largest_probability_error"] > rows[2]["largest_probability_error"] > 0.0
    assert speechrnn.load(place / names[1]).card.figures["accuracy"] == 1.0


def test_the_table_has_a_line_for_each_file(place):
    shown = command(speechrnn.load().path, place, module=family)
    stem = speechrnn.load().path.stem
    for name in (f"{stem}.onnx", f"{stem}-int8.onnx", f"{stem}-float16.onnx"):
        assert name in shown.stdout
    assert "24 clips" in shown.stdout


def test_one_that_fails_keeps_all_from_being_written(place, monkeypatch):
    monkeypatch.setattr(quantize, "quantize", coarse)
    not_written(command(speechrnn.load().path, place, module=family), place, "int8", "nothing is written")
    refused(command(speechrnn.load().path, place / "missing", module=family), place / "missing")
