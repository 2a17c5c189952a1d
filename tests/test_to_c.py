"""python -m export.to_c: which files it reads, what it writes and says, and what it refuses."""

import contextlib
import ctypes
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import numpy_helper

import speechrnn
from speechrnn import files
from speechrnn.cli.to_c import to_c as to_c_verb
from speechrnn.export import c_compiled, c_weights, to_onnx
from speechrnn.export.precision import Precision
from speechrnn.training import config
from tests.support.c_program import BLOCK, CELLS, Case, edited, heard_by, int16, need, set_card, untrained
from tests.support.command_line import MODELS, refused, run
from tests.support.networks import SMALL, recognizer, saved
from tests.support.sound_kinds import sound

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = ["main.c", "speechrnn.c", "speechrnn.h"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("small"))


# other files


def with_int8(proto, operator):
    """The graph with int8 weights and their product with a scale in front; scales that the numbers don't tell."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in list(copy.graph.initializer):
        if not tensor.name.endswith(("_weight", "_W", "_R")):
            continue
        axis = 1 if tensor.name.endswith(("_W", "_R", "output_weight")) else 0
        values = numpy_helper.to_array(tensor)
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = (np.abs(values).max(axis=others, keepdims=True) / 101).astype(np.float32)
        integers, name = np.round(values / scale).astype(np.int8), tensor.name
        names = [f"{name}_int8", f"{name}_scale"]
        if operator == "DequantizeLinear":
            scale = scale.ravel()
            nodes = [onnx.helper.make_node(operator, names, [name], name=name, axis=axis)]
        else:
            nodes = [onnx.helper.make_node("Mul", [f"{name}_cast", names[1]], [name], name=name)]
            nodes.append(onnx.helper.make_node("Cast", names[:1], [f"{name}_cast"], to=onnx.TensorProto.FLOAT))
        copy.graph.initializer.remove(tensor)
        copy.graph.initializer.extend(map(numpy_helper.from_array, (integers, scale), names))
        for node in nodes:
            copy.graph.node.insert(0, node)
    return copy


@pytest.mark.parametrize("operator", ["Mul", "DequantizeLinear"])
@pytest.mark.parametrize("cell", CELLS)
def test_an_int8_file_gives_its_own_integers(small, tmp_path, cell, operator):
    path = tmp_path / "int8.onnx"
    onnx.save(with_int8(onnx.load(small / f"{cell}.onnx"), operator), path)
    case = Case(path, Precision.int8)
    weights = c_weights.read(case.model)
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    np.testing.assert_array_equal(weights.cells[1].hidden.quantised()[0], stored[f"{cell}_1_R_int8"][0])
    np.testing.assert_array_equal(weights.output.quantised()[0], stored["output_weight_int8"].T)
    samples = sound("speech", 100 * BLOCK, seed=5)
    rows = heard_by(c_compiled.as_written(case.model), samples)
    np.testing.assert_allclose(case.process(samples), rows, atol=1e-3)
    shown = to_c_command(path, tmp_path / "spot")  # the same numbers as float32
    assert float(re.search(r"within (\S+) of \S+ with float32 weights", shown.stdout)[1]) < 1e-3


def test_a_float16_file_gives_its_numbers(small, tmp_path):
    proto = onnx.load(small / "gru.onnx")
    for tensor in list(proto.graph.initializer):
        if tensor.name.endswith(("_weight", "_W", "_R")):
            name = f"{tensor.name}_float16"
            proto.graph.initializer.append(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name)
            )
            node = onnx.helper.make_node("Cast", [name], [tensor.name], to=onnx.TensorProto.FLOAT)
            proto.graph.node.insert(0, node)
            proto.graph.initializer.remove(tensor)
    onnx.save(proto, tmp_path / "float16.onnx")
    case = Case(tmp_path / "float16.onnx")
    assert c_compiled.largest_difference(case.library, case.model) < 1e-3


def test_other_sizes_and_labels_work_too(tmp_path):
    """Another transform, hop and number of layers; a label that would end a string or a comment, or be a format."""
    labels = ('"*/ja??/\\%d', "привет", "_unknown_", "_silence_")
    front_end = config.FrontEndConfig(window_length=256, hop_length=96, n_fft=256, n_mels=13, f_min=60.0, f_max=7000.0)
    network = replace(SMALL.network, first_channels=3, channels=5, residual_layers=0, layers=3, features=7)
    model = recognizer(config=replace(SMALL, front_end=front_end, network=network), labels=labels)
    path = tmp_path / "model*_.onnx"
    to_onnx.export(saved(tmp_path / "best.pt", model), path, threshold=0.1)
    for precision in Precision:
        case = Case(path, precision)
        samples = int16(sound("speech", 192 * 300))
        rows = heard_by(case.model, samples.astype(np.float32) / 32768)
        np.testing.assert_allclose(case.process(samples), rows, atol=1e-3)
        names = ctypes.POINTER(ctypes.c_char_p * 4)
        found = ctypes.cast(case.library.library.speechrnn_labels, names).contents
        assert tuple(name.decode() for name in found) == labels
        assert case.made.files["speechrnn.h"].count("/*") == case.made.files["speechrnn.h"].count("*/")


def test_sums_of_integers_stay_within_32_bits(tmp_path):
    """640 inputs of the same size, with weights of the same size: as large as a sum can be."""
    network = replace(SMALL.network, channels=64, residual_layers=0)
    front_end = replace(SMALL.front_end, n_mels=40)
    model = recognizer(config=replace(SMALL, front_end=front_end, network=network))
    with torch.no_grad():
        model.network.convolutions[1].norm.weight.zero_()
        model.network.convolutions[1].norm.bias.fill_(1.0)
        model.network.features.weight.copy_(torch.linspace(-1e-3, 1e-3, 12)[:, None].expand(-1, 640))
    to_onnx.export(saved(tmp_path / "best.pt", model), tmp_path / "model.onnx")
    case = Case(tmp_path / "model.onnx", Precision.int8)
    samples = sound("noise", 20 * BLOCK)
    rows = heard_by(case.model, samples)
    assert np.ptp(rows) > 0.1
    np.testing.assert_allclose(case.process(samples), rows, atol=1e-3)


# the command


def to_c_command(*arguments):
    return run(*arguments, start=lambda: typer.run(to_c_verb))


@pytest.mark.slow
def test_the_command_writes_three_files_and_says_what_they_need(small, tmp_path):
    need("gcc")
    shown = to_c_command(small / "gru.onnx", tmp_path / "spot", "--weights", "int8", "--benchmark")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert sorted(p.name for p in (tmp_path / "spot").iterdir()) == FILES
    assert re.search(r"flash: [\d.]+ KB.*\nRAM: [\d.]+ KB.*\nprobabilities within \S+ of", shown.stdout)
    assert float(re.search(r"([\d.]+) times the time", shown.stdout)[1]) > 0


def test_the_command_compares_real_clips(validation_folder, tmp_path, monkeypatch):
    need("gcc")
    monkeypatch.setattr(c_compiled, "CLIPS", 60)
    shown = to_c_command(speechrnn.load().path, tmp_path / "spot", "--clips", validation_folder)
    assert shown.returncode == 0
    assert re.search(r"on 60 clips: 100\.00% of labels equal, probabilities within \S+", shown.stdout)


def test_too_few_equal_labels_on_real_clips_are_refused(small, validation_folder, tmp_path, monkeypatch):
    need("gcc")
    monkeypatch.setattr(c_compiled, "agreement", lambda *_: (0.9979, 0.1))
    shown = to_c_command(speechrnn.load().path, tmp_path / "spot", "--clips", validation_folder)
    refused(shown, speechrnn.load().path, "99.79%")
    refused(to_c_command(small / "gru.onnx", tmp_path / "spot", "--clips", tmp_path / "none"), tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_same_model_gives_the_same_files_beside_others(small, tmp_path):
    (tmp_path / "spot").mkdir()
    (tmp_path / "spot" / "Makefile").write_text("mine")
    texts = []
    for more in ([], ["--overwrite"]):
        assert to_c_command(small / "rnn.onnx", tmp_path / "spot", *more).returncode == 0
        texts.append([(tmp_path / "spot" / name).read_text() for name in FILES])
    assert texts[0] == texts[1]
    assert sorted(p.name for p in (tmp_path / "spot").iterdir()) == ["Makefile", *FILES]


def test_without_a_compiler_it_says_that_nothing_was_compared(small, tmp_path, monkeypatch):
    monkeypatch.setattr(c_compiled, "compiler", lambda: None)
    shown = to_c_command(small / "rnn.onnx", tmp_path / "spot")
    assert shown.returncode == 0
    assert "not compared" in shown.stdout
    refused(to_c_command(small / "rnn.onnx", tmp_path / "other", "--benchmark"), "--benchmark", "gcc")
    refused(to_c_command(small / "rnn.onnx", tmp_path / "other", "--clips", tmp_path), "--clips", "gcc")
    assert not (tmp_path / "other").exists()


def test_the_compiler_is_the_one_of_the_environment(monkeypatch):
    monkeypatch.setenv("CC", "sh -c")
    assert c_compiled.compiler() == ["sh", "-c"]
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("PATH", "/nowhere")
    assert c_compiled.compiler() is None


@pytest.mark.slow
def test_a_program_that_does_not_compile_is_not_written(small, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "false")
    refused(to_c_command(small / "rnn.onnx", tmp_path / "spot"), "false", "compile")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_program_that_differs_from_the_file_is_not_written(small, tmp_path, monkeypatch):
    need("gcc")
    read = c_weights.read

    def wrong(model):
        weights = read(model)
        return replace(weights, output_bias=weights.output_bias + np.float32(0.3) * np.arange(4, dtype=np.float32))

    monkeypatch.setattr(c_weights, "read", wrong)
    refused(to_c_command(small / "gru.onnx", tmp_path / "spot"), small / "gru.onnx", "differs")
    assert list(tmp_path.iterdir()) == []


def set_attributes(node_name, **values):
    def edit(proto):
        [node] = [n for n in proto.graph.node if n.name == node_name]
        kept = [a for a in node.attribute if a.name not in values]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(*value) for value in values.items())])

    return edit


def rename_weight(old, new):
    def edit(proto):
        for node in proto.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
        for tensor in proto.graph.initializer:
            tensor.name = new if tensor.name == old else tensor.name

    return edit


def not_a_number(proto):
    [tensor] = [t for t in proto.graph.initializer if t.name == "gru_0_R"]
    values = numpy_helper.to_array(tensor).copy()
    values[0, 1, 2] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


OTHERS = {
    "weight-of-another-name": (rename_weight("features_bias", "bias"), "features_bias"),
    "not-a-number": (not_a_number, "gru_0_R"),
    "reset-before-product": (set_attributes("gru_1_directions", linear_before_reset=0), "gru_1"),
    "clipped-cell": (set_attributes("gru_0_directions", clip=1.0), "gru_0"),
    "wider-apart": (
        set_attributes("convolution_2_depthwise", dilations=[1, 2], pads=[0, 2, 0, 2]),
        "convolution_2_depthwise",
    ),
    "another-cell": (set_card(network={"cell": "lstm"}), "lstm_0"),
    "another-width": (set_card(network={"hidden_size": 11}), "gru_0"),
    "unknown-setting": (set_card(network={"attention": 4}), "model card"),
    "impossible-setting": (set_card(network={"channels": -1}), "model card"),
    "n_fft": (set_card(front_end={"n_fft": 480}), "power of two"),
    "another-hop": (set_card(front_end={"hop_length": 100}), "hops"),
    "no-words": (set_card(words=[], thresholds={}), "words"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_graph_that_it_does_not_know_is_refused(small, tmp_path, kind):
    edit, named = OTHERS[kind]
    path = tmp_path / "model.onnx"
    edited(small / "gru.onnx", path, edit)
    refused(to_c_command(path, tmp_path / "spot"), path, named)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [*MODELS, "missing"])
def test_a_bad_model_is_refused_and_nothing_is_left(tmp_path, kind):
    path = tmp_path / "model.onnx"
    if kind != "missing":
        path.write_bytes(MODELS[kind](onnx.load(speechrnn.load().path)))
    refused(to_c_command(path, tmp_path / "spot"), path)
    assert not (tmp_path / "spot").exists()


@pytest.mark.parametrize("place", ["file", "file/spot", "missing/spot", "n" * 300, "/proc/spot"])
def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(small, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    refused(to_c_command(small / "rnn.onnx", tmp_path / place), tmp_path / place)
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_place_of_a_file_is_refused_and_nothing_is_left(small, tmp_path):
    (tmp_path / "spot" / "main.c").mkdir(parents=True)
    refused(to_c_command(small / "rnn.onnx", tmp_path / "spot"), tmp_path / "spot" / "main.c")
    assert [p.name for p in (tmp_path / "spot").iterdir()] == ["main.c"]


@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_what_was_there(small, tmp_path, monkeypatch, there):
    target = tmp_path / "spot"
    if there:
        target.mkdir()
        (target / "main.c").write_text("older")

    write = files.replacing

    @contextlib.contextmanager
    def full(path, **how):
        with write(path, **how) as file:
            yield file
            if path.name == "main.c":
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "replacing", full)
    refused(to_c_command(small / "rnn.onnx", target, "--overwrite"), target, "No space left")
    assert [p.name for p in tmp_path.rglob("*")] == (["spot", "main.c"] if there else [])
    assert not there or (target / "main.c").read_text() == "older"
