"""The `speechrnn` command: one module a verb, heavy imports inside the verb."""

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from speechrnn import interrupts
from speechrnn.cli import streams
from speechrnn.errors import InputError
from speechrnn.text import printable

VERBS = ("listen", "spot", "classify", "devices", "doctor", "plot", "evaluate", "score", "info", "bench", "train")
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="ONNX file, or gru-12-small, to use instead of gru-12", show_default=False),
]


def run() -> None:
    """Run the verb that was asked for; only its own module is imported, since starting fast matters."""
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
    try:
        with report_errors():  # also around what typer prints by itself
            app()
    except typer.Exit as ended:
        interrupts.leave(ended.exit_code)
    except SystemExit as ended:
        if interrupts.was_pressed():
            interrupts.leave(ended.code if isinstance(ended.code, int) else 1)
        raise


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
        streams.prepare()
        interrupts.take()
        yield
        sys.stdout.flush()  # here, where a closed pipe is understood, and not at exit
    except InputError as error:
        say(str(error))
        if isinstance(error, streams.OutputError):
            streams.abandon_results()
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("speechrnn"):
            raise
        say(f"this needs {error.name}: pip install 'speechrnn[{'plot' if error.name == 'matplotlib' else 'train'}]'")
        raise typer.Exit(2) from None
    except BrokenPipeError:  # `speechrnn ... | head` is no error
        streams.abandon_results()
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(interrupts.INTERRUPTED) from None


def say(message: str) -> None:
    """A line for the person, on stderr; one line even if a path in it has a line break."""
    typer.echo(f"speechrnn: {printable(message)}", err=True)


def check_writable(path: Path, option: str) -> None:
    """Before the work, not after it: can a file be put there?"""
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise InputError(f"{option} {path}: can't be written ({error.strerror}): name another place") from None
    if is_folder:
        raise InputError(f"{option} {path}: is a directory: name a file in it")
    if not has_folder:
        raise InputError(f"{option} {path}: there is no folder {path.parent}: make it first")
