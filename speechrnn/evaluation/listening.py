"""How far a measurement on long recordings is."""

import sys
from collections.abc import Sequence

from speechrnn.evaluation.recordings import Recording, total_seconds
from speechrnn.terminal import plain_console


class ListeningProgress:
    """A bar on stderr, where somebody looks; it counts seconds of sound."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._shown = sys.stderr.isatty()
        if self._shown:
            from rich.progress import Progress

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
