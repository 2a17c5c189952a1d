"""python -m export.calibrate: the verb `speechrnn calibrate`, in a checkout."""

import typer

from speechrnn.export.calibrate import main

if __name__ == "__main__":
    typer.run(main)
