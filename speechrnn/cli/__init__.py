"""The `speechrnn` command: one module a verb, heavy imports inside the verb."""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from speechrnn.errors import InputError, SoundWarning

VERBS = ("listen", "spot", "classify", "devices", "doctor", "plot", "evaluate", "score", "info", "bench", "train")
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="ONNX file, or gru-12-small, to use instead of gru-12", show_default=False),
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
        with _told_warnings():
            yield
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a closed pipe is understood, and not at exit
    except InputError as error:
        say(str(error))
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("speechrnn"):
            raise
        say(f"this needs {error.name}: pip install 'speechrnn[{'plot' if error.name == 'matplotlib' else 'train'}]'")
        raise typer.Exit(2) from None
    except BrokenPipeError:  # `speechrnn ... | head` is no error
        sys.stdout = None  # type: ignore[assignment]  # it is gone: Python must not flush it at exit
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(130) from None


@contextlib.contextmanager
def _told_warnings() -> Iterator[None]:
    """What is wrong with sound that can be used is a line, too."""

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        say(str(message)) if issubclass(category, SoundWarning) else shown(message, category, *place, **more)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("always", SoundWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def say(message: str) -> None:
    """A line for the person, on stderr; one line even if a path in it has a line break."""
    typer.echo(" ".join(f"speechrnn: {message}".splitlines()), err=True)


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
