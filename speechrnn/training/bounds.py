"""Bounds of settings, declared in their types: `Annotated[int, Between(1, 9)]`."""

from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from speechrnn.errors import ConfigError


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, both included."""

    low: float
    high: float


Share = Annotated[float, Between(0.0, 1.0)]
Probability = Annotated[float, Between(0.0, 1.0)]
Weight = Annotated[float, Between(0.0, 1000.0)]


class Bounded:
    """Base of frozen dataclasses: a number out of the bounds in its type raises ConfigError with its name."""

    table = ""  # of the settings, with a dot behind it: how messages name them

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            for bounds in getattr(hint, "__metadata__", ()):
                value = getattr(self, name)
                if not bounds.low <= value <= bounds.high:
                    between = f"{bounds.low:.10g} to {bounds.high:.10g}"
                    raise ConfigError(f"{self.table}{name}: {shown(value)} is out of bounds: give {between}")


def shown(value: Any) -> str:
    """A value in a message, however large, long or deep it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits than Python writes out; tables in tables in tables
        return f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]}..."
