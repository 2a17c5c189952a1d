"""Standard output, kept for results: what a library prints there past Python ends nowhere."""

import io
import os
import sys


def keep_for_results() -> None:
    """From here on, only what Python writes to `sys.stdout` comes out there.

    libsndfile, for one, prints to stdout what it finds wrong in some files, which would stand among lines of JSON. So
    results get a descriptor of their own, which programs that are started don't inherit either, and number 1 leads
    nowhere. To be called by a program when it starts, never by a library.
    """
    ours = sys.stdout
    if ours is not None and not (isinstance(ours, io.TextIOWrapper) and _is_first(ours)):
        return  # somebody else has taken it: a test, a notebook
    if ours is not None:
        ours.flush()
        unbuffered = ours.write_through
        sys.stdout = io.TextIOWrapper(
            open(os.dup(1), "wb", 0 if unbuffered else -1),  # noqa: SIM115  # it stays open
            encoding=ours.encoding,
            errors=ours.errors,
            line_buffering=ours.line_buffering,
            write_through=unbuffered,
        )
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != 1:  # it is where there was no stdout: the next file that is opened would take its place
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _is_first(stream: io.TextIOWrapper) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):  # made of something else, or closed
        return False
