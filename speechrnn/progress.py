"""Bars on stderr, where somebody looks and there is time to."""

import sys
from collections.abc import Iterable, Iterator

from speechrnn.terminal import plain_console

PROGRESS_FROM = 100  # files: fewer are done before a bar can be read


def with_progress(results: Iterable, count: int) -> Iterator:
    """Hand results on, with a progress bar where somebody looks and there is time to."""
    if count < PROGRESS_FROM or not sys.stderr.isatty():
        yield from results
        return
    from rich.progress import Progress

    # A bar takes stdout for itself unless told not to: results would end on the terminal instead of in the file.
    bar = Progress(console=plain_console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        yield from bar.track(results, total=count, description="classifying")
