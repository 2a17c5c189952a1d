"""What every case of a fuzzer must keep: work, or be refused in one printable line."""

import traceback
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechrnn.errors import InputError

LONGEST_MESSAGE = 600  # characters
CASE_SECONDS = 10
CASE_BYTES = 1 << 30
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """A file's content, and what else the door is given."""

    content: bytes
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Refused or not; `finding` says how the contract was broken, and `sort` which findings are alike."""

    refused: bool = False
    sort: str = ""
    finding: str = ""


def judge(run: Callable[[Case, Path], None], case: Case, path: Path) -> Outcome:
    """Run a case whose content lies at `path`."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's would land on a user's screen
        try:
            run(case, path)
        except InputError as error:
            problem = wrong_with(str(error))
            if not problem:
                return Outcome(refused=True)
            return Outcome(True, f"message: {problem}: {_where(error)}", f"the message {problem}: {str(error)!r}")
        except BaseException as error:  # SystemExit and MemoryError count too
            return Outcome(False, f"{type(error).__name__}: {_where(error)}", traceback.format_exc())
    return Outcome()


def wrong_with(message: str) -> str:
    """What a message breaks of: one printable line of bounded length; "" if nothing."""
    if len(message.splitlines()) != 1:
        return "isn't one line"
    if acts_on_terminal(message):
        return "isn't printable"
    return f"is longer than {LONGEST_MESSAGE} characters" if len(message) > LONGEST_MESSAGE else ""


def acts_on_terminal(text: str) -> bool:
    """Whether it has a control character, a separator of lines, a half of a surrogate pair, or turns the direction."""
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
        for character in text
    )


def _where(error: BaseException) -> str:
    """The innermost line of this repository, or of its tests, that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT) and "/tests/" not in frame.filename]
    frame = (ours or frames)[-1]
    name = Path(frame.filename)
    return f"{name.relative_to(ROOT) if name.is_relative_to(ROOT) else name.name}:{frame.name}"


def check_sound(samples: np.ndarray) -> None:
    assert isinstance(samples, np.ndarray)
    assert samples.dtype == np.float32, samples.dtype
    assert samples.ndim == 1, samples.shape
    assert np.isfinite(samples).all(), "not finite"


def check_posteriors(posteriors: np.ndarray, labels: int) -> None:
    assert posteriors.dtype == np.float32, posteriors.dtype
    assert posteriors.ndim == 2, posteriors.shape
    assert posteriors.shape[1] == labels, posteriors.shape
    assert np.isfinite(posteriors).all(), "posteriors are not finite"
