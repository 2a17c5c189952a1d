"""The terminal view of `speechrnn listen`: level, a bar for each word, the last detections and near misses."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.text import Text

    from speechrnn.cli.listen import Listener
    from speechrnn.decision import Detection
    from speechrnn.near_misses import NearMiss
    from speechrnn.spotter import Spotter

VIEW_SECONDS = 0.125  # from one picture to the next
HOLD_SECONDS = 3.0  # of sound; how long a peak is shown
BAR_WIDTH = 40  # characters
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class WordBar:
    """The posterior of a word as a bar, with a thick mark at its threshold and a thin one at the peak of late."""

    posterior: float
    peak: float
    threshold: float

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["Text"]:
        yield self.text(options.ascii_only)

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> "Measurement":
        from rich.measure import Measurement

        return Measurement(BAR_WIDTH, BAR_WIDTH)

    def text(self, ascii_only: bool = False) -> "Text":
        """One line of `BAR_WIDTH` characters; without blocks and lines where the terminal's encoding lacks them."""
        from rich.text import Text

        full, needed, held = "#|:" if ascii_only else "█┃│"
        whole, eighths = divmod(int(8 * BAR_WIDTH * self.posterior), 8)
        partial = "" if ascii_only else EIGHTHS[eighths]
        cells = list(f"{full * whole}{partial}"[:BAR_WIDTH].ljust(BAR_WIDTH))
        styles = {}
        for value, mark, style in ((self.peak, held, "cyan"), (self.threshold, needed, "yellow")):
            place = min(BAR_WIDTH - 1, int(BAR_WIDTH * value))
            if place:  # a mark on the left end would say nothing
                cells[place], styles[place] = mark, style
        line = Text("".join(cells), no_wrap=True)
        for place, style in styles.items():
            line.stylize(style, place, place + 1)
        return line


class View:
    """What a person sees on a terminal: level, a bar for each word, the last detections and near misses."""

    def __init__(self, spotter: "Spotter", labels: tuple[str, ...], console: "Console | None" = None) -> None:
        from rich.live import Live

        self.found: deque[Detection] = deque(maxlen=5)
        self.missed: deque[NearMiss] = deque(maxlen=3)
        self._spotter = spotter
        self._columns = {word: labels.index(word) for word in spotter.words}
        self._peaks = dict.fromkeys(spotter.words, (0.0, 0.0))  # and the second of the sound that they were in
        self._live = Live(console=console, auto_refresh=False)  # a thread of its own would draw what didn't change
        self._next = 0.0

    def __enter__(self) -> "View":
        self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(None, None, None)

    def add(self, detections: list["Detection"], origin: float = 0.0) -> None:
        """Take the detections and posteriors of the last piece; its time begins `origin` seconds after the view's."""
        self.found += detections
        self.missed += [replace(missed, time=round(origin + missed.time, 4)) for missed in self._spotter.near_misses]
        now = origin + self._spotter.seconds
        for word, column in self._columns.items():
            highest = float(self._spotter.highest[column])
            peak, since = self._peaks[word]
            if highest >= peak or now - since > HOLD_SECONDS:
                self._peaks[word] = highest, now

    def update(self, listener: "Listener", last: bool = False) -> None:
        """Draw, if it is time to."""
        if time.monotonic() >= self._next or last:
            self._next = time.monotonic() + VIEW_SECONDS
            self._live.update(self.picture(listener), refresh=True)

    def picture(self, listener: "Listener") -> Any:
        """What is drawn now."""
        from rich.bar import Bar
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from speechrnn.level import FLOOR_DBFS, dbfs, rms

        loudness = dbfs(rms(listener.latest[-4800:])) if len(listener.latest) else FLOOR_DBFS
        dropped = f", {listener.dropped} blocks dropped" if listener.dropped else ""
        head = Text(f"{listener.feed.name}: {listener.seconds:.0f} s{dropped}", style="bold")
        rows = Table.grid(padding=(0, 1))
        level = Bar(80.0, 0.0, max(0.0, 80.0 + loudness), width=BAR_WIDTH)
        rows.add_row("level", level, f"{loudness:.0f} dBFS", Text("peak", "cyan"), Text("needs", "yellow"))
        for word, column in self._columns.items():
            posterior, threshold = float(self._spotter.posterior[column]), self._spotter.thresholds[word]
            peak, _ = self._peaks[word]
            style = "bold green" if posterior >= threshold else ""
            bar = WordBar(posterior, peak, threshold)
            rows.add_row(Text(word, style), bar, f"{posterior:.2f}", f"{peak:.3f}", f"{threshold:.3f}")
        found = Text("\n".join(f"{d.time:9.2f}  {d.label:<8}  {d.peak:.3f}" for d in self.found), "green")
        missed = [f"{m.time:9.2f}  {m.label:<8}  {m.peak:.3f}, needs {m.threshold:.3f}" for m in self.missed]
        close = Text("\n".join(["close, but not detected:", *missed] if missed else []), "yellow")
        return Group(head, rows, Text(listener.complaint, style="bold red"), found, close)
