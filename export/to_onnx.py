"""python -m export.to_onnx: the verb `speechrnn export`, in a checkout."""

import typer

from speechrnn.export.to_onnx import main

if __name__ == "__main__":
    typer.run(main)
