"""python -m research.table: writes docs/research.md from the experiments beside this file.

Each experiment has README.md (title, question, commands, verdict) and result.json: runs, and figures of each by name.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from speechrnn.errors import InputError
from speechrnn.files import write
from speechrnn.programs import report_errors

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "research.md"
HEAD = """# Research

What was tried, with a folder in [research/](../research/README.md) for each experiment, its settings and commands. This
page is written by `python -m research.table` from `research/*/README.md` and `result.json`. Figures are of validation
speakers (of the 2,910 clips of before November 2026, when 109 more came), each of one run, and were measured by
`speechrnn validate`, where an experiment says nothing else.
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def folders() -> list[Path]:
    """Folders of the experiments, by name."""
    return sorted(path.parent for path in HERE.glob("*/result.json"))


def part(text: str, name: str) -> str:
    """The paragraph of a README that begins with **Name.**, on one line; raises ValueError if there is none."""
    _, found, rest = text.partition(f"**{name}.**")
    if not found:
        raise ValueError(f"has no **{name}.**")
    return " ".join(rest.split("\n\n")[0].split())


def figures(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Lines of a Markdown table, a row a figure, or a row a run where these are more."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run))
    cells = {(run, name): str(values.get(name, "")) for run, values in runs.items() for name in names}
    upright = len(runs) <= len(names)
    rows, columns = (names, list(runs)) if upright else (list(runs), names)
    yield "| | " + " | ".join(columns) + " |"
    yield "|" + "---|" * (len(columns) + 1)
    for row in rows:
        yield f"| {row} | " + " | ".join(cells[(c, row) if upright else (row, c)] for c in columns) + " |"


def page() -> str:
    """The whole of docs/research.md.

    Raises
    ------
    InputError
        naming the folder that lacks something
    """
    rows, sections = ["| experiment | question | verdict |", "|---|---|---|"], []
    for folder in folders():
        try:
            text = (folder / "README.md").read_text(encoding="utf-8")
            runs = json.loads((folder / "result.json").read_text(encoding="utf-8"))["runs"]
            question, verdict = part(text, "Question"), part(text, "Verdict")
            lines = list(figures(runs))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{folder}: {error}: give it a README.md and a result.json as the others have") from None
        title = text.partition("\n")[0].removeprefix("# ")
        rows.append(f"| [{folder.name}](../research/{folder.name}/README.md) | {question} | {verdict} |")
        sections.append("\n".join([f"\n## {title}\n", *lines]) + "\n")
    return HEAD + "\n" + "\n".join(rows) + "\n" + "".join(sections)


@app.command()
def main() -> None:
    """Write docs/research.md from the folders of the experiments.

    Example: python -m research.table
    """
    with report_errors():
        write(PAGE, page().encode())


if __name__ == "__main__":
    app()
