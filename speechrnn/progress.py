"""Progress bars on stderr, shown on a terminal alone."""

import sys
from collections.abc import Callable, Iterable, Iterator

from speechrnn.terminal import plain_console

PROGRESS_FROM = 100  # files: fewer are done before a bar can be read


def with_progress(results: Iterable, count: int) -> Iterator:
    """Yield `results`, of which there are `count`, with a bar if they are many."""
    if count < PROGRESS_FROM or not sys.stderr.isatty():
        yield from results
        return
    from rich.progress import Progress

    # A bar takes stdout for itself if it may: results would then end on the terminal instead of in the file.
    bar = Progress(console=plain_console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bar:
        yield from bar.track(results, total=count, description="classifying")


class SoundProgress:
    """A bar that counts seconds of sound.

    Parameters
    ----------
    name : what stands before the bar
    seconds : function that returns the length of all the sound, or None where it isn't known; called if a bar is shown
    """

    def __init__(self, name: str, seconds: Callable[[], float | None]) -> None:
        self._shown = sys.stderr.isatty()
        if self._shown:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            description, done = TextColumn("{task.description}", markup=False), TextColumn("{task.completed:.0f} s")
            columns = description, BarColumn(), done, TimeRemainingColumn()
            console, shared = plain_console(stderr=True), sys.stdout.isatty()
            self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=shared)
            self._task = self._bar.add_task(name, total=seconds())

    def __enter__(self) -> "SoundProgress":
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self, seconds: float) -> None:
        """So many seconds more are done."""
        if self._shown:
            self._bar.advance(self._task, seconds)
