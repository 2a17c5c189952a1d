"""Commands run in this process or in one of their own, and models that every command refuses."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import onnx
import pytest
import soundfile

import speechrnn
from speechrnn import cli

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments, stdin=b"", start=cli.run):
    """The command in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["speechrnn", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        start()
    return SimpleNamespace(returncode=ended.value.code, stdout=out.getvalue(), stderr=err.getvalue())


def command(*arguments, **how):
    """The real command, `python -m speechrnn ...`, from wherever the tests run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **how.pop("env", {})}
    if "stdout" not in how:
        how["capture_output"] = True
    argv = [sys.executable, "-m", "speechrnn", *map(os.fsencode, arguments)]
    return subprocess.run(argv, env=environment, **({"text": True} | how))


def encoded(samples, rate=16_000, **how):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV"} | how))
    return file.getvalue()


def refused(shown, *names, code=2):
    """One line on stderr that holds the names, and the exit code."""
    assert len(shown.stderr.splitlines()) == 1, shown.stderr
    assert all(str(name) in shown.stderr for name in names), shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.returncode == code


def with_card(proto, text):
    """The shipped graph with another card; None: with none."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.metadata_props[:]
    if text is not None:
        onnx.helper.set_model_props(copy, {"speechrnn": text})
    return copy.SerializeToString()


def with_values(proto, **values):
    card = json.loads(next(p.value for p in proto.metadata_props if p.key == "speechrnn"))
    return with_card(proto, json.dumps({k: v for k, v in (card | values).items() if v is not None}))


def foreign(names=("x", "y"), card=None):
    """A valid model that is somebody else's; with `card`, one that pretends to be ours."""
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []) for name in names]
    node = onnx.helper.make_node("Identity", [names[0]], [names[1]])
    graph = onnx.helper.make_graph([node], "foreign", value[:1], value[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    if card is not None:
        onnx.helper.set_model_props(proto, {"speechrnn": card})
    return proto.SerializeToString()


MODELS = {
    "empty": lambda proto: b"",
    "text": lambda proto: b"a text",
    "cut-off": lambda proto: proto.SerializeToString()[:100_000],
    "foreign": lambda proto: foreign(),
    "foreign-with-our-card": lambda proto: foreign(card=speechrnn.load().card.to_json()),
    "card-missing": lambda proto: with_card(proto, None),
    "card-no-json": lambda proto: with_card(proto, "labels: yes, no"),
    "card-a-list": lambda proto: with_card(proto, "[]"),
    "card-of-another-version": lambda proto: with_values(proto, format_version=99),
    "card-without-labels": lambda proto: with_values(proto, labels=None),
    "card-without-version": lambda proto: with_values(proto, format_version=None),
    "card-with-too-few-labels": lambda proto: with_values(
        proto, labels=["yes"], words=["yes"], thresholds={"yes": 0.5}
    ),
    "card-with-another-state": lambda proto: with_values(proto, state_size=3),
    "card-with-a-list-for-a-network": lambda proto: with_values(proto, network=["gru", 128]),
    "card-with-a-text-for-figures": lambda proto: with_values(proto, figures="good"),
    "card-without-hysteresis": lambda proto: with_values(proto, hysteresis=None),
    "card-with-a-list-of-thresholds": lambda proto: with_values(
        proto, thresholds=["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
    ),
}
