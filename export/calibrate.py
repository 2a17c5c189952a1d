"""python -m export.calibrate: the verb `speechrnn calibrate`, in a checkout."""

import typer

from speechrnn.cli.calibrate import calibrate as main

if __name__ == "__main__":
    typer.run(main)
