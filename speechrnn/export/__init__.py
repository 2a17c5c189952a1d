"""Export a checkpoint to ONNX, calibrate it, store its weights smaller, and write it as C. Needs the extra "export"."""
