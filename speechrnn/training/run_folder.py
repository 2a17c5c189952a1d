"""The folder of a training run: foreign files are never replaced, and files are written atomically."""

import csv
import io
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from speechrnn import files
from speechrnn.errors import ConfigError, InputError, refused_by_system
from speechrnn.training.config import Config, load

RESULTS = ("config.toml", "best.pt", "metrics.csv", "curves.png", "confusion.png")


class RunFolder:
    """Settings, checkpoints and metrics of a run: `best` is the checkpoint to export, `last` the one to resume from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last, self.best = path / "last.pt", path / "best.pt"

    def check(self, config: Config, resume: bool) -> None:
        """Check that there is a run to resume, or nothing but what an earlier start with these settings left.

        Raises
        ------
        InputError
            naming what stands in the way
        """
        try:
            str(self.path).encode()
        except UnicodeEncodeError:
            message = f"{self.path}: TensorBoard can't write where a name isn't UTF-8: use --run-folder"
            raise ConfigError(message) from None
        if resume and not self.last.exists():
            raise ConfigError(f"{self.path}: nothing to resume (no {self.last.name}): leave out --resume")
        if resume:
            return
        if self.last.exists():
            raise ConfigError(f"{self.path}: holds a run already: use --resume, or --run-folder for a new one")
        for written in (self.best, self.last):
            files.check_not_read(written, "--run-folder", config.train.start_from or None)
        kept = self.path / "config.toml"
        if kept.is_file() and kept.read_bytes() == config.to_toml().encode():
            return
        for name in RESULTS:
            if os.path.lexists(self.path / name):
                raise ConfigError(f"{self.path / name}: is there already, and not of such a run: use --run-folder")

    def keep_settings(self, config: Config) -> None:
        """Make the folder, and write the settings unless they stand there."""
        self.path.mkdir(parents=True, exist_ok=True)
        kept = self.path / "config.toml"
        try:
            same = load(kept) == config
        except ConfigError:
            same = False
        if not same:
            files.write(kept, config.to_toml().encode())

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """A row for each epoch, as CSV."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, history[-1].keys())
        writer.writeheader()
        writer.writerows(history)
        files.write(self.path / "metrics.csv", text.getvalue().encode())

    @contextmanager
    def kept_whole(self) -> Iterator[None]:
        """Turn a full disk or a missing folder into one line; earlier files are whole, so that the run can be resumed.

        Raises
        ------
        InputError
            naming the file, or the run folder
        """
        try:
            yield
        except (OSError, files.WriteError) as error:
            what = refused_by_system(error, self.path) if isinstance(error, OSError) else str(error)
            again = "; then go on with --resume" if self.last.is_file() else ""
            raise InputError(f"{what}{again}") from None

    @contextmanager
    def board(self, epochs: int) -> Iterator[SummaryWriter]:
        """A TensorBoard writer that goes on after so many epochs."""
        usual = threading.excepthook  # would show a traceback of what the thread of the writer hands on to us anyway
        threading.excepthook = lambda given: None if isinstance(given.exc_value, OSError) else usual(given)
        try:
            with SummaryWriter(str(self.path / "tensorboard"), purge_step=epochs) as board:
                yield board
        finally:
            threading.excepthook = usual
