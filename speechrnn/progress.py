"""Bars on stderr, where somebody looks and there is time to."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from speechrnn.terminal import plain_console

if TYPE_CHECKING:
    from speechrnn.recordings import Recording

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


class ListeningProgress:
    """A bar on stderr, where somebody looks; it counts seconds of sound."""

    def __init__(self, recordings: "Sequence[Recording]") -> None:
        self._shown = sys.stderr.isatty()
        if self._shown:
            from rich.progress import Progress

            from speechrnn.recordings import total_seconds

            self._bar = Progress(
                console=plain_console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
            )
            self._task = self._bar.add_task("listening", total=total_seconds(recordings))

    def __enter__(self) -> "ListeningProgress":
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self, seconds: float) -> None:
        if self._shown:
            self._bar.advance(self._task, seconds)
