"""Ctrl-C, from the first moment of a command to its last. Imports next to nothing: it is there before all else."""

import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

PATIENCE_SECONDS = 1.0  # a second Ctrl-C within it is the same one, pressed twice
INTERRUPTED = 130  # what a shell calls the end by Ctrl-C: 128 and the number of the signal

_first: float | None = None  # when it was pressed


def die() -> None:
    """While a command starts, Ctrl-C ends it at once: nothing has begun, and there is nothing to say."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def take() -> None:
    """After `die`: the first Ctrl-C is a KeyboardInterrupt, and one that comes later ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, _pressed)


def _pressed(number: int, frame: FrameType | None) -> None:
    global _first
    if _first is None:
        _first = time.monotonic()
        if _is_importing(frame):  # which some packages don't survive half done
            leave(INTERRUPTED)
        raise KeyboardInterrupt
    if time.monotonic() - _first > PATIENCE_SECONDS:
        leave(INTERRUPTED)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def was_pressed() -> bool:
    return _first is not None


def leave(code: int) -> NoReturn:
    """End at once, without what Python does at its end: it can meet objects there that were left half used."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # also what `speechrnn.cli.streams` makes of an OSError
            continue
    os._exit(code)
