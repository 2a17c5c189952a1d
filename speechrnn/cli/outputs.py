"""The outputs of `speechrnn listen`: lines on stdout, a program for each detection, a recording and its labels."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import string
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechrnn.errors import InputError
from speechrnn.files import TakenError, check_not_read, check_place, write
from speechrnn.labels import Label, audacity
from speechrnn.programs import say

if TYPE_CHECKING:
    from speechrnn.decision import Detection

RATE = 16_000  # Hz, of all sound here; audio.SAMPLE_RATE costs an import
WAV_LIMIT = 2**32 - 2**16  # bytes; the header can't say more. 37 hours
WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")  # RIFF, its size, WAVE; the format; data, its size
MOST_RUNNING = 8  # programs of --exec at once
PLACEHOLDERS = ("label", "time", "probability")  # in the arguments of --exec


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
    """What --exec names; started for each detection and not waited for, MOST_RUNNING of it at once.

    `{label}`, `{time}` and `{probability}` in its arguments stand for what was detected; a brace itself is doubled.
    Programs that still run when this one ends are left to finish.
    """

    def __init__(self, command: str) -> None:
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise InputError(f"--exec {command}: can't be understood ({error}): mind the quotes") from None
        for number, argument in enumerate(self._arguments):
            _check_placeholders(argument, command, () if number == 0 else PLACEHOLDERS)
        name = self._arguments[0].format() if self._arguments else ""
        if not shutil.which(name):
            raise InputError(f"--exec {command}: there is no program {name!r} that can be run: check its name")
        self._name = name
        self._free = threading.Semaphore(MOST_RUNNING)
        self._left_out = 0

    def start(self, detection: "Detection") -> None:
        """Run the program; what it prints goes to stderr, since stdout is for detections."""
        if not self._free.acquire(blocking=False):
            self._left_out += 1
            say(f"--exec {self._name}: {MOST_RUNNING} of them still run: {self._left_out} words left out so far")
            return
        values = {
            "label": detection.label,
            "time": f"{detection.time:.3f}",
            "probability": f"{detection.probability:.6f}",
        }
        environment = {f"SPEECHRNN_{name.upper()}": value for name, value in values.items()}
        try:
            process = subprocess.Popen(
                [argument.format_map(values) for argument in self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, **environment},
                process_group=0 if os.name == "posix" else None,  # Ctrl-C is for us, not for what we have started
            )
        except (OSError, ValueError) as error:  # ValueError: a label that no program can be given
            self._free.release()
            say(f"--exec {self._name}: can't be run ({getattr(error, 'strerror', None) or error}): check it")
        else:
            threading.Thread(target=self._wait, args=(process,), daemon=True).start()

    def _wait(self, process: subprocess.Popen) -> None:
        """Take note of a program's end at once, whether or not another word comes: none is left as a zombie."""
        process.wait()
        self._free.release()


def _check_placeholders(argument: str, command: str, known: tuple[str, ...]) -> None:
    """Raises InputError unless the braces in an argument are doubled or around the name of a placeholder."""
    try:
        fields = [field for field in string.Formatter().parse(argument) if field[1] is not None]
    except ValueError:  # one of a pair of braces is missing
        fields = [(argument, argument, "", None)]
    for _, name, form, conversion in fields:
        if name not in known or form or conversion:
            there = ", ".join(f"{{{word}}}" for word in PLACEHOLDERS)
            raise InputError(
                f"--exec {command}: {argument}: there are {there}, in arguments; a brace itself is written {{{{ or }}}}"
            )


def check_save(path: Path, source: str | None) -> None:
    """Can the files be put there, and is the WAV not the source itself? Raises InputError otherwise."""
    if path.suffix.lower() != ".wav":
        raise InputError(f"--save {path}: a WAV is written: give it a name that ends in .wav")
    check_place(path, "--save")
    check_not_read(path, "--save", source)


class Recording:
    """The sound as a 16-bit WAV, and a label track beside it; both are whole at every moment.

    Nothing is there before the first sound. Files that are there already stay as they are: where keep.wav or keep.txt
    is one of them, the recording is keep-2.wav with keep-2.txt, and so on. So does it go on when a WAV is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wav: io.BufferedRandom | None = None
        self._labels: io.TextIOWrapper | None = None
        self._bytes = 0  # of sound, in this WAV
        self._begin = 0.0  # seconds of sound before this WAV

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *raised: Any) -> None:
        with self._naming_the_option():
            self._close()

    def write(self, samples: np.ndarray) -> None:
        """Float32 [samples], clipped to full scale; the header, too, is right after each call."""
        content = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()
        if not content:
            return
        with self._naming_the_option():
            if self._wav is None or self._bytes + len(content) > WAV_LIMIT:
                self._start(content)
            else:
                self._wav.seek(WAV_HEADER.size + self._bytes)
                self._wav.write(content)
                self._wav.flush()  # first the sound, then the header that tells of it
                self._wav.seek(0)
                self._wav.write(_header(self._bytes + len(content)))
                self._wav.flush()
            self._bytes += len(content)

    def label(self, detection: "Detection") -> None:
        """A label where the word was decided on."""
        if self._labels is None:
            return
        time = max(0.0, detection.time - self._begin)
        with self._naming_the_option():
            self._labels.write(audacity(Label(time, time, detection.label)))
            self._labels.flush()

    def _start(self, content: bytes) -> None:
        """Begin a WAV with this sound, and its label track, under names that nobody has.

        The track comes first: who has made it has the number, and the WAV is never without it.
        """
        self._close()
        self._begin, self._bytes = self._begin + self._bytes / 2 / RATE, 0
        for path in _free_names(self._path):
            track = path.with_suffix(".txt")
            try:
                labels = track.open("x", encoding="utf-8")
            except FileExistsError:
                continue
            try:
                write(path, _header(len(content)) + content, overwrite=False)
            except BaseException as error:
                labels.close()
                track.unlink()
                if isinstance(error, TakenError):
                    continue
                raise
            self._labels, self._wav = labels, path.open("r+b")
            say(f"--save: the sound goes to {path}, labels to {track}")
            return

    def _close(self) -> None:
        for file in (self._wav, self._labels):
            if file is not None:
                file.close()

    @contextlib.contextmanager
    def _naming_the_option(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"--save {self._path}: can't be written ({error.strerror}): name another place") from None


def _header(size: int) -> bytes:
    """Of a WAV with so many bytes of sound."""
    form = (b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)  # PCM, one channel, 16 bit
    return WAV_HEADER.pack(b"RIFF", WAV_HEADER.size - 8 + size, b"WAVE", *form, b"data", size)


def _free_names(path: Path) -> Iterator[Path]:
    """`path`, or with the number after the highest that is there; then with higher ones."""
    name = re.compile(rf"{re.escape(path.stem)}(?:-(\d{{1,9}}))?\.(?:wav|txt)", re.IGNORECASE)
    taken = (name.fullmatch(there) for there in os.listdir(path.parent))
    number = max((int(match[1] or 1) for match in taken if match), default=0)
    while True:
        number += 1
        yield path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
