"""The standard streams of a command, in whatever state it is given them."""

import codecs
import contextlib
import io
import os
import sys

from speechrnn.errors import InputError


class OutputError(InputError):
    """Results can't be written to where they should go."""


class _Results(io.FileIO):
    """The file behind stdout; its errors are `OutputError`s, unlike those of any other file."""

    def write(self, content) -> int:  # type: ignore[no-untyped-def]
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"stdout: can't be written ({error.strerror}): send the results to a place that has room"
            ) from None


def _unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding lacks goes out as JSON has it, \\uXXXX; bytes of a file name that isn't UTF-8 as they came."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    try:
        return text.encode(error.encoding, "surrogateescape"), error.end
    except UnicodeEncodeError:
        units = text.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


codecs.register_error("speechrnn", _unencodable)


def prepare() -> None:
    """Make the standard streams fit for a command; to do it again changes nothing.

    Results go to where stdout leads, through a descriptor that programs which are started don't inherit. Number 1 leads
    nowhere from then on: libsndfile, for one, prints to it what it finds wrong in some files, amid lines of JSON.

    Raises
    ------
    InputError
        if stdout is closed
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        raise OutputError("stdout: is closed: send the results to a file, or to /dev/null")
    if sys.stdout is not sys.__stdout__ or not isinstance(sys.stdout, io.TextIOWrapper):
        return  # prepared already, or somebody else's
    given = sys.stdout
    given.flush()
    results = _Results(os.dup(given.fileno()), "w")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), given.fileno())
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(results), given.encoding, "speechrnn", None, given.line_buffering, given.write_through
    )


def abandon_results() -> None:
    """What wasn't written to stdout never will be: Python must not try once more at its end."""
    if sys.stdout is not None and sys.stdout is not sys.__stdout__:
        with contextlib.suppress(OSError, ValueError, InputError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.stdout.flush()
