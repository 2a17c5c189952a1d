"""From a checkpoint to ONNX, from there to smaller files, to honest numbers and to C. Needs the extra "export"."""
