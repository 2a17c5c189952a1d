"""python -m export.web FOLDER: a page that spots words in the browser, as a folder of static files."""

import typer

from export.web.build import main

if __name__ == "__main__":
    typer.run(main)
