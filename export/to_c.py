"""python -m export.to_c: the verb `speechrnn to-c`, in a checkout."""

import typer

from speechrnn.cli.to_c import to_c as main

if __name__ == "__main__":
    typer.run(main)
