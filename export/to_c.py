"""python -m export.to_c: the verb `speechrnn to-c`, in a checkout."""

import typer

from speechrnn.export.to_c import main

if __name__ == "__main__":
    typer.run(main)
