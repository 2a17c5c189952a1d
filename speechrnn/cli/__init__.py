"""The `speechrnn` command: one module a verb, heavy imports inside the verb."""

import contextlib
import io
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import InputError

VERBS = ("listen", "spot", "classify", "devices", "doctor", "plot", "evaluate", "score", "info", "bench", "train")
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="ONNX file, or gru-12-small, to use instead of gru-12", show_default=False),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of these names that are there already")
]


def run() -> None:
    """Run the verb that was asked for; only its own module is imported, since starting fast matters."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names that are no UTF-8 go out as they came
    app = typer.Typer(
        name="speechrnn",
        help="Hear spoken commands: label clips, look at what the network hears, train and measure models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_version)
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for verb in (asked,) if asked in VERBS else VERBS:
        app.command(verb)(getattr(import_module(f"speechrnn.cli.{verb}"), verb))
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        from speechrnn import __version__

        typer.echo(f"speechrnn {__version__}")
        raise typer.Exit()


def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """What the user gave is no good: one line on stderr, exit code 2, no traceback."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a closed pipe is understood, and not at exit
    except InputError as error:
        say(str(error))
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("speechrnn"):
            raise
        extra = "plot" if error.name == "matplotlib" else "train"
        say(f"this needs {error.name}: in a checkout of speechrnn, pip install '.[{extra}]'")
        raise typer.Exit(2) from None
    except BrokenPipeError:  # `speechrnn ... | head` is no error
        sys.stdout = None  # type: ignore[assignment]  # it is gone: Python must not flush it at exit
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(130) from None


def say(message: str) -> None:
    """A line for the person, on stderr; one line even if a path in it has a line break."""
    typer.echo(" ".join(f"speechrnn: {message}".splitlines()), err=True)
