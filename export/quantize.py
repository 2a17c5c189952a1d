"""python -m export.quantize: the verb `speechrnn quantize`, in a checkout."""

import typer

from speechrnn.cli.quantize import quantize as main

if __name__ == "__main__":
    typer.run(main)
