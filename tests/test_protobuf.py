"""A graph on which onnxruntime may crash is refused before it is given it."""

import onnx
import pytest

import speechrnn
from speechrnn.errors import ModelError
from speechrnn.model import shipped
from speechrnn.protobuf import unfit_node


@pytest.mark.parametrize("model", ["gru-12", "gru-12-small"])
def test_the_shipped_graphs_lack_nothing(model):
    assert unfit_node(shipped(model).read_bytes()) is None


@pytest.mark.parametrize("operator", ["Min", "Concat", "Mul", "Conv"])
def test_a_node_without_an_input_is_refused(tmp_path, operator):
    proto = onnx.load(shipped("gru-12-small"))
    next(node for node in proto.graph.node if node.op_type == operator).input[1] = ""
    assert unfit_node(proto.SerializeToString()) == f"a node {operator} lacks an input"
    onnx.save(proto, tmp_path / "lacks.onnx")
    with pytest.raises(ModelError, match=rf"lacks\.onnx.*{operator} lacks an input"):
        speechrnn.load(tmp_path / "lacks.onnx")


@pytest.mark.parametrize("operator", ["Expand", "Tile", "Loop", "Nix", "x" * 10_000])
def test_a_node_of_another_kind_is_refused(tmp_path, operator):
    proto = onnx.load(shipped("gru-12-small"))
    next(node for node in proto.graph.node if node.name == "steps").op_type = operator
    onnx.save(proto, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"foreign\.onnx.*of a kind that no model of speechrnn has"):
        speechrnn.load(tmp_path / "foreign.onnx")


@pytest.mark.parametrize("content", [b"\x3a\x7f", b"\x3a\x02\x0a\x7f", b"\xff" * 20, b"\x07", b"\x08"])
def test_what_is_no_onnx_file_is_an_error(content):
    with pytest.raises(ValueError, match=r"field|number"):
        unfit_node(content)
