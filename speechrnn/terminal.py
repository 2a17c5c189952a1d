"""What is shown on a terminal, where names from outside mean nothing but themselves."""

from typing import TYPE_CHECKING, Any, TextIO

from speechrnn.text import printable

if TYPE_CHECKING:
    from rich.console import Console


def plain_console(**how: Any) -> "Console":
    """rich's console, which takes `[red]` and `:smile:` in a name for what they are; `how` as rich has it."""
    from rich.console import Console

    return Console(markup=False, emoji=False, **how)


def in_line(name: str, file: TextIO) -> str:
    """A file's name in a line of text; where no terminal is, bytes that aren't UTF-8 go out as they came."""
    return printable(name, surrogates=not file.isatty())


def in_cell(name: str, file: TextIO) -> str:
    """A file's name in a cell of CSV, which may hold anything; on a terminal it is made fit for that."""
    return printable(name) if file.isatty() else name
