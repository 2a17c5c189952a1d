"""A graph from a stranger is refused in one line when it doesn't run, or costs too much, or says what can't be."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import speechrnn.model
import speechrnn.protobuf
from speechrnn.errors import ModelError
from speechrnn.inference import MOST_MEMORY
from speechrnn.model import Model, shipped
from tests.support.command_line import ROOT, command, run

YES = ROOT / "examples" / "yes.wav"


@pytest.fixture
def proto():
    return onnx.load(shipped("gru-12-small"))


def constant(proto, name, values, kind=np.int64):
    proto.graph.initializer.append(numpy_helper.from_array(np.array(values, kind), name))
    return name


def renamed_output(proto, name, other):
    """What gave the output of this name gives another, so that something can be put between."""
    for node in proto.graph.node:
        for i, output in enumerate(node.output):
            if output == name:
                node.output[i] = other
    return other


def after(proto, output, operator, *inputs, **attributes):
    """Put one more operation behind an output."""
    before = renamed_output(proto, output, f"{output}_before")
    proto.graph.node.append(helper.make_node(operator, [before, *inputs], [output], **attributes))


def with_work(proto, *nodes):
    """These nodes compute `work`, a number that is added to the probabilities after it was multiplied by 0."""
    proto.graph.node.extend(nodes)
    constant(proto, "nothing", 0.0, np.float32)
    proto.graph.node.append(helper.make_node("Mul", ["work", "nothing"], ["no_work"]))
    after(proto, "probabilities", "Add", "no_work")


def first(proto, operator):
    return next(node for node in proto.graph.node if node.op_type == operator)


# One entry for each way to be wrong; each changes the shipped small model.


def shape_that_does_not_fit(proto):
    shape = next(tensor for tensor in proto.graph.initializer if tensor.name == "convolution_0_heard_shape")
    shape.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(shape) + 1, shape.name))


def rows_that_do_not_sum_to_one(proto):
    after(proto, "probabilities", "Mul", constant(proto, "two", 2.0, np.float32))


def below_zero(proto):
    shift = np.zeros(12, np.float32)
    shift[:2] = 3.0, -3.0
    after(proto, "probabilities", "Add", constant(proto, "shift", shift, np.float32))


def not_a_number(proto):
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "output_bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(12, np.nan, np.float32), bias.name))


def state_not_finite(proto):
    after(proto, "next_state", "Div", constant(proto, "zero", 0.0, np.float32))


def state_that_grows(proto):
    before = renamed_output(proto, "next_state", "kept_state")
    proto.graph.node.append(helper.make_node("Concat", [before, before], ["next_state"], axis=0))


def row_for_two_blocks(proto):
    """One row for each block but the first, so that a single one would look as it should."""
    starts, ends, axes = (constant(proto, name, [value]) for name, value in (("s", -1), ("e", 10**6), ("a", 1)))
    after(proto, "probabilities", "Slice", starts, ends, axes)


def other_block_length(proto):
    card = json.loads(proto.metadata_props[0].value)
    proto.metadata_props[0].value = json.dumps(card | {"block_length": 300})


def unknown_operator(proto):
    after(proto, "probabilities", "Believe", domain="")


def custom_domain(proto):
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    after(proto, "probabilities", "Believe", domain="com.example")


def opset_of_the_future(proto):
    proto.opset_import[0].version = 1000


def two_opsets(proto):
    proto.opset_import.append(helper.make_opsetid("", 9))


def doubles(proto):
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def double_probabilities(proto):
    after(proto, "probabilities", "Cast", to=TensorProto.DOUBLE)
    next(o for o in proto.graph.output if o.name == "probabilities").type.tensor_type.elem_type = TensorProto.DOUBLE


def third_input(proto):
    proto.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def no_outputs(proto):
    del proto.graph.output[:]


def weights_in_another_file(proto):
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "output_bias")
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "0", "length": "48"}.items():
        bias.external_data.add(key=key, value=value)


def weights_somewhere_in_memory(proto):
    weights_in_another_file(proto)
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "output_bias")
    bias.external_data[0].value = "*/_ORT_MEM_ADDR_/*"


def weight_without_its_numbers(proto):
    next(tensor for tensor in proto.graph.initializer if tensor.name == "features_weight_int8").dims[0] = 2**40


def terabytes_of_ones(proto):
    shape = constant(proto, "shape", [10**13])
    value = numpy_helper.from_array(np.ones(1, np.float32))
    with_work(
        proto,
        helper.make_node("ConstantOfShape", [shape], ["ones"], value=value),
        helper.make_node("ReduceSum", ["ones"], ["work"], keepdims=0),
    )


def gigabytes_of_ones(proto):
    shape, one = constant(proto, "shape", [2 * MOST_MEMORY // 4]), constant(proto, "one", [1.0], np.float32)
    with_work(
        proto,
        helper.make_node("Expand", [one, shape], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["work"], keepdims=0),
    )


def wide_padding(proto):
    pads = next(attribute for attribute in first(proto, "Conv").attribute if attribute.name == "pads")
    pads.ints[1] += 10**9
    pads.ints[3] += 10**9


def name_that_colours(proto):
    after(proto, "probabilities", "Reshape", constant(proto, "\x1b[31mshape\n", [7, 7]))


CHANGES = [
    shape_that_does_not_fit,
    rows_that_do_not_sum_to_one,
    below_zero,
    not_a_number,
    state_not_finite,
    state_that_grows,
    row_for_two_blocks,
    other_block_length,
    unknown_operator,
    custom_domain,
    opset_of_the_future,
    two_opsets,
    doubles,
    double_probabilities,
    third_input,
    no_outputs,
    weights_in_another_file,
    weights_somewhere_in_memory,
    weight_without_its_numbers,
    terabytes_of_ones,
    gigabytes_of_ones,
    wide_padding,
    name_that_colours,
]


def written(proto, folder):
    path = folder / "strange.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_graph_that_is_no_good_is_refused_when_it_is_loaded(change, proto, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(48))  # onnxruntime would take it from the working directory
    change(proto)
    path = written(proto, tmp_path)
    with pytest.raises(ModelError) as caught:
        Model(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    assert len(line) < 400 + len(str(path))
    assert capfd.readouterr() == ("", "")


def test_the_model_itself_is_taken(proto, tmp_path):
    assert Model(written(proto, tmp_path)).labels == Model("gru-12-small").labels


def test_a_graph_that_fails_on_other_sound_than_silence_is_an_error_of_ours(proto, tmp_path):
    """It looks up a number in a list of one, at a place that loud samples set."""
    half, far, list_of_one = constant(proto, "half", 0.5, np.float32), constant(proto, "far", 77), "list_of_one"
    constant(proto, list_of_one, [1.0], np.float32)
    with_work(
        proto,
        helper.make_node("Greater", ["audio", half], ["is_loud"]),
        helper.make_node("Cast", ["is_loud"], ["counted"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["counted"], ["one"], keepdims=0),
        helper.make_node("Mul", ["one", far], ["place"]),
        helper.make_node("Gather", [list_of_one, "place"], ["work"]),
    )
    path = written(proto, tmp_path)
    model = Model(path)
    with pytest.raises(ModelError, match="doesn't run") as caught:
        model.classify(np.ones(16_000, np.float32))
    assert str(caught.value).isprintable()


def endless(proto):
    constant(proto, "trips", 2**62)
    constant(proto, "on", True, bool)
    constant(proto, "start", 1.0, np.float32)
    body = helper.make_graph(
        [helper.make_node("Identity", ["on_in"], ["on_out"]), helper.make_node("Cos", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
        ],
    )
    with_work(proto, helper.make_node("Loop", ["trips", "on", "start"], ["work"], body=body))


def test_a_graph_that_never_ends_is_given_up(proto, tmp_path, monkeypatch):
    monkeypatch.setattr(speechrnn.model, "LOAD_SECONDS", 0.5)
    monkeypatch.setattr(speechrnn.protobuf, "OPERATORS", {*speechrnn.protobuf.OPERATORS, "Loop"})
    endless(proto)
    path = written(proto, tmp_path)
    with pytest.raises(ModelError, match="isn't ready after"):
        Model(path)


def test_a_process_that_gave_up_a_graph_ends_as_it_should(proto, tmp_path):
    endless(proto)
    program = (
        "import sys, speechrnn.model as m, speechrnn.protobuf as p\nfrom speechrnn.errors import ModelError\n"
        "m.LOAD_SECONDS = 0.5\np.OPERATORS.add('Loop')\n"
        "try:\n    m.Model(sys.argv[1])\nexcept ModelError:\n    print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, written(proto, tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused\n", "")


# the file


FILES = {
    "no such file": lambda folder: folder / "nowhere.onnx",
    "a folder": lambda folder: folder,
    "a long name": lambda folder: folder / ("x" * 300),
    "a name of 300 characters": lambda folder: "x" * 300,
    "a file that never ends": lambda folder: "/dev/zero",
    "a NUL": lambda folder: "a\0b.onnx",
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_what_is_no_file_is_refused(make, tmp_path):
    if "/dev/" in str(make(tmp_path)) and os.name == "nt":
        pytest.skip("Windows has no such device")
    with pytest.raises(ModelError) as caught:
        Model(make(tmp_path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("size", [0, 1, 100, 5_000, 100_000])
def test_a_part_of_a_file_is_refused(size, tmp_path):
    path = tmp_path / "part.onnx"
    path.write_bytes(shipped("gru-12-small").read_bytes()[:size])
    with pytest.raises(ModelError) as caught:
        Model(path)
    assert str(caught.value).isprintable()


def heard(path):
    """The label of a little silence, or what the refusal says."""
    try:
        return Model(path).classify(np.zeros(8_000, np.float32)).label
    except ModelError as error:
        return str(error)


def test_a_mutated_file_is_refused_or_runs(tmp_path, capfd):
    """With a few other bytes in it, a file is a model often enough; what is taken then runs."""
    content, rng = shipped("gru-12-small").read_bytes(), np.random.default_rng(12)
    labels, path, found = Model("gru-12-small").labels, tmp_path / "mutated.onnx", []
    for _ in range(25):
        changed = np.frombuffer(content, np.uint8).copy()
        places = rng.integers(0, len(changed), int(rng.integers(1, 20)))
        changed[places] = rng.integers(0, 256, len(places))
        path.write_bytes(changed.tobytes())
        found.append(heard(path))
    refused = [line for line in found if line not in labels]
    assert 0 < len(refused) < len(found)
    assert all(line.startswith(f"{path}: ") and line.isprintable() for line in refused)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "verb", [["classify", YES, "--model"], ["spot", YES, "--model"], ["listen", YES, "--model"], ["info"]]
)
def test_verbs_refuse_a_graph_that_does_not_run_in_one_line(verb, proto, tmp_path):
    rows_that_do_not_sum_to_one(proto)
    path = written(proto, tmp_path)
    shown = run(*verb, path)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert str(path) in shown.stderr


def test_names_that_are_not_utf_8_print_nothing_on_stdout(proto, tmp_path):
    """onnxruntime's Python part meets them with a "EP Error" on stdout, and a second try."""
    path = written(proto, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"probabilities", b"\xff\xferobabilities"))
    shown = command("info", path)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
