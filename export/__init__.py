"""From a checkpoint to ONNX, from there to C and to a page; a command a module, as `python -m export.to_onnx`."""

from speechrnn.cli import explain_missing_packages

explain_missing_packages()
