"""From a checkpoint to ONNX, from there to C and to a page; a command a module, as `python -m export.to_onnx`."""

from speechrnn.programs import start_module

start_module()
