"""What `speechrnn listen` shows on a terminal: level, a bar for each word, the last detections."""

import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechrnn.cli.listen import Listener
    from speechrnn.spotter import Detection, Spotter

VIEW_SECONDS = 0.125  # from one picture to the next


class View:
    """What a person sees on a terminal: level, a bar for each word, the last detections."""

    def __init__(self, spotter: "Spotter", labels: tuple[str, ...]) -> None:
        from rich.live import Live

        self.found: deque[Detection] = deque(maxlen=5)
        self._spotter, self._labels = spotter, labels
        self._live = Live(auto_refresh=False)  # a thread of its own would draw what didn't change
        self._next = 0.0

    def __enter__(self) -> "View":
        self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(None, None, None)

    def update(self, listener: "Listener", last: bool = False) -> None:
        """Draw, if it is time to."""
        if time.monotonic() >= self._next or last:
            self._next = time.monotonic() + VIEW_SECONDS
            self._live.update(self._picture(listener), refresh=True)

    def _picture(self, listener: "Listener") -> Any:
        from rich.bar import Bar
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from speechrnn.microphone import FLOOR_DBFS, measure

        loudness = measure(listener.latest[-4800:]).rms if len(listener.latest) else FLOOR_DBFS
        dropped = f", {listener.dropped} blocks dropped" if listener.dropped else ""
        head = Text(f"{listener.feed.name}: {listener.seconds:.0f} s heard{dropped}", style="bold")
        rows = Table.grid(padding=(0, 1))
        rows.add_row("level", Bar(80.0, 0.0, max(0.0, 80.0 + loudness), width=40), f"{loudness:.0f} dBFS")
        for word in self._spotter.words:
            posterior = float(self._spotter.posterior[self._labels.index(word)])
            style = "bold green" if posterior >= self._spotter.thresholds[word] else ""
            rows.add_row(Text(word, style), Bar(1.0, 0.0, posterior, width=40), f"{posterior:.2f}")
        found = Text("\n".join(f"{d.time:9.2f}  {d.label:<8}  {d.probability:.3f}" for d in self.found), "green")
        return Group(head, rows, Text(listener.complaint, style="bold red"), found)
