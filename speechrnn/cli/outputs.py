"""Where the detections of `speechrnn listen` go: lines on stdout, a program for each, a recording and its labels."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechrnn.cli import say
from speechrnn.errors import InputError
from speechrnn.files import check_writable

if TYPE_CHECKING:
    from speechrnn.spotter import Detection

RATE = 16_000  # Hz, of all sound here; audio.SAMPLE_RATE costs an import
WAV_LIMIT = 2**32 - 2**16  # bytes; the header can't say more. 37 hours


def write_text(detection: "Detection") -> None:
    sys.stdout.write(f"{detection.time:9.2f}  {detection.label:<8}  {detection.probability:.3f}\n")
    sys.stdout.flush()


def write_jsonl(detection: "Detection") -> None:
    record = {
        "time": round(detection.time, 3),
        "label": detection.label,
        "probability": round(detection.probability, 6),
    }
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class Program:
    """What --exec names; started for each detection, and never waited for."""

    def __init__(self, command: str) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise InputError(f"--exec {command}: can't be understood ({error}): mind the quotes") from None
        if not self._arguments or not shutil.which(self._arguments[0]):
            name = self._arguments[0] if self._arguments else ""
            raise InputError(f"--exec {command}: there is no program {name!r} that can be run: check its name")
        self._running: list[subprocess.Popen] = []

    def start(self, detection: "Detection") -> None:
        """Run the program; what it says goes to stderr, since stdout is for detections."""
        environment = {
            "SPEECHRNN_LABEL": detection.label,
            "SPEECHRNN_TIME": f"{detection.time:.3f}",
            "SPEECHRNN_PROBABILITY": f"{detection.probability:.6f}",
        }
        self._running = [process for process in self._running if process.poll() is None]  # the rest is reaped by that
        try:
            process = subprocess.Popen(
                self._arguments, stdin=subprocess.DEVNULL, stdout=2, env={**os.environ, **environment}
            )
        except OSError as error:
            say(f"--exec {self._arguments[0]}: can't be run ({error.strerror}): check it")
        else:
            self._running.append(process)


def check_save(path: Path, source: str | None) -> None:
    """Before anything is heard: can both files be written, and is neither of them the one that is listened to?"""
    if path.suffix.lower() != ".wav":
        raise InputError(f"--save {path}: a WAV is written: give it a name that ends in .wav")
    for file in (path, path.with_suffix(".txt")):
        check_writable(file, "--save")
        there = file if file.exists() else file.parent
        if not os.access(there, os.W_OK):
            raise InputError(f"--save {file}: permission denied: name a place where this user may write")
        if source and file.exists() and os.path.exists(source) and file.samefile(source):
            raise InputError(f"--save {file}: is what is listened to: name another file")


class Recording:
    """What was heard, as a 16-bit WAV, and a label track beside it; both are whole at every moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0

    def __enter__(self) -> "Recording":
        with self._told(), contextlib.ExitStack() as stack:
            self._file = stack.enter_context(open(self._path, "wb"))
            self._labels = stack.enter_context(open(self._path.with_suffix(".txt"), "w", encoding="utf-8"))
            self._wav = stack.enter_context(wave.open(self._file, "wb"))
            self._wav.setnchannels(1)
            self._wav.setsampwidth(2)
            self._wav.setframerate(RATE)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        with self._told():
            self._stack.close()

    def write(self, samples: np.ndarray) -> None:
        """Float32 [samples], clipped to full scale; the header, too, is right after each call."""
        content = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()
        if self._bytes <= WAV_LIMIT < self._bytes + len(content):
            say(f"--save {self._path}: is full: no WAV can be longer. Listening goes on")
        self._bytes += len(content)
        if content and self._bytes <= WAV_LIMIT:
            with self._told():
                self._wav.writeframes(content)
                self._file.flush()

    def label(self, detection: "Detection") -> None:
        """A label where the word was decided on."""
        with self._told():
            self._labels.write(f"{detection.time:.6f}\t{detection.time:.6f}\t{detection.label}\n")
            self._labels.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"--save {self._path}: can't be written ({error.strerror}): name another place") from None
