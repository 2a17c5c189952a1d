"""What all commands share: errors as one line with exit code 2, and options."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from speechrnn import interrupts, standard_streams
from speechrnn.errors import InputError, SoundWarning, first_line, refused_by_system
from speechrnn.text import printable

ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="ONNX file, or gru-12-small, to use instead of gru-12", show_default=False),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of these names that are there already")
]


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turn errors that the user can mend into one line on stderr and exit code 2, without a traceback."""
    try:
        standard_streams.prepare()
        interrupts.take()
        with _warnings_as_lines():
            yield
        sys.stdout.flush()  # here, where a closed pipe is understood, and not at exit
    except InputError as error:
        say(str(error))
        if isinstance(error, standard_streams.OutputError):
            standard_streams.abandon_results()
        raise typer.Exit(2) from None
    except ImportError as error:
        if (missing := missing_package(error)) is None:
            raise
        say(missing)
        raise typer.Exit(2) from None
    except BrokenPipeError:  # `speechrnn ... | head` is no error
        standard_streams.abandon_results()
        raise typer.Exit(0) from None
    except OSError as error:
        say(refused_by_system(error))
        raise typer.Exit(2) from None
    except ValueError as error:
        if "embedded null" not in str(error):  # what Python says of a name with a NUL, whatever wanted to open it
            raise
        say("a name has a NUL in it: name another file")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        say("stopped")
        raise typer.Exit(interrupts.INTERRUPTED) from None


LIGHT = ("numpy", "onnxruntime", "soundfile", "soxr", "sounddevice", "rich")  # what speechrnn itself depends on
EXTRAS = {"matplotlib": "plot", "PIL": "plot", "onnx": "export"}  # which extra brings what; "train" brings all others


def missing_package(error: ImportError) -> str | None:
    """What to install, in one line, if a package of others is missing or can't be used; None if it is one of ours."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "speechrnn", "export", "data_scripts", "research", "benchmarks"):
        return None
    reason = "" if isinstance(error, ModuleNotFoundError) else f" ({first_line(error)})"
    if package in LIGHT:
        return f"this needs {package}{reason}: pip install {package}"
    from speechrnn.installation import install_command

    return f"this needs {package}{reason}: {install_command(EXTRAS.get(package, 'train'))}"


def start_module() -> None:
    """Where `python -m PACKAGE.MODULE` is starting, one line and exit code 2 for what an import at its top lacks.

    And no traceback for Ctrl-C meanwhile. Called by the package, which is imported before its module: what that imports
    is beyond `report_errors`.
    """
    if sys.argv[:1] != ["-m"]:  # what Python has there while it looks for the module
        return
    interrupts.die()

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        missing = missing_package(error) if isinstance(error, ImportError) else None
        if missing is None:
            sys.__excepthook__(kind, error, traceback)
            return
        say(missing)
        raise SystemExit(2)

    sys.excepthook = hook


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print a `SoundWarning` as a line, too."""

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        say(str(message)) if issubclass(category, SoundWarning) else shown(message, category, *place, **more)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        shown = warnings.showwarning
        warnings.simplefilter("always", SoundWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def say(message: str) -> None:
    """A line for the person, on stderr; one line even if a path in it has a line break."""
    typer.echo(f"speechrnn: {printable(message)}", err=True)
