"""python -m data_scripts.validate: the verb `speechrnn validate`, in a checkout."""

import typer

from speechrnn.cli.validate import validate as main

if __name__ == "__main__":
    typer.run(main)
