"""`speechrnn listen`: a line for each word in live sound."""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from speechrnn.channels import parse
from speechrnn.cli.feeds import Feed, Headerless, open_feed
from speechrnn.cli.options import ChannelOption
from speechrnn.cli.outputs import RATE, Program, Recording, check_save, write_jsonl, write_text
from speechrnn.cli.spotting import (
    HysteresisOption,
    RefractoryOption,
    SmoothingOption,
    ThresholdOption,
    WordsOption,
    make_spotter,
)
from speechrnn.cli.view import View
from speechrnn.errors import InputError
from speechrnn.programs import ModelOption, report_errors, say

if TYPE_CHECKING:
    from speechrnn.decision import Detection
    from speechrnn.microphone import Device, Microphone
    from speechrnn.spotter import Spotter

LEVEL_SECONDS = 2.0  # of the latest sound, for its level and what is wrong with it


class Format(StrEnum):
    """How detections are written."""

    text = "text"
    jsonl = "jsonl"


def listen(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A sound file, or - for stdin: sound of any format, or raw PCM (16 bit, mono, 16 kHz, unless options "
            "say otherwise); the microphone if left out",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Number or part of a name; see speechrnn devices")
    ] = None,
    input: Annotated[str | None, typer.Option("--input", "-i", help="A sound file instead of the microphone")] = None,
    model: ModelOption = None,
    threshold: ThresholdOption = None,
    words: WordsOption = None,
    smoothing: SmoothingOption = None,
    refractory: RefractoryOption = None,
    hysteresis: HysteresisOption = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to write detections")] = Format.text,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Run this for each word, without a shell; {label}, {time} and {probability} in its arguments are "
            "those of the detection (a brace itself is doubled), and so are SPEECHRNN_LABEL, SPEECHRNN_TIME and "
            "SPEECHRNN_PROBABILITY in its environment. Its output goes to stderr. While eight of it run, further words "
            "are left out and counted; what still runs at the end is left to finish",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="WAV",
            help="Record the sound, and a label track for Audacity beside it (.txt). What is there already stays: "
            "after keep.wav comes keep-2.wav with keep-2.txt, and so on; stderr says which",
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(min=1000, max=768_000, help=f"Rate of raw PCM on stdin, in Hz: {RATE} if left out"),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=1024, help="How many channels raw PCM on stdin has: 1 if left out")
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            "--pcm",
            metavar="KIND",
            help="Samples of raw PCM on stdin: s16le if left out, or u8, s24le, s24le-in-32, s32le, f32le, f64le, "
            "alaw, mulaw. Where there is a header, it counts",
        ),
    ] = None,
    channel: ChannelOption = "mean",
    realtime: Annotated[bool, typer.Option("--realtime/--fast", help="Play a file at its own pace")] = False,
) -> None:
    """Listen to the microphone until Ctrl-C and report each word with its time, in seconds, and its probability.

    A word is reported at once, while it may still go on: the probability is the posterior that reached the threshold.
    How sure the network then becomes, the peak, is shown on a terminal, where it rises, and by speechrnn spot.

    Example: speechrnn listen --words stop,go --exec "notify-send {label}"

    Example: arecord | speechrnn listen -
    """
    with report_errors():
        if source and input:
            raise InputError(f"--input {input}: there is {source} already: name one of them")
        source = source or input
        if source and device:
            raise InputError(f"--device {device}: there is {source} to listen to: leave one of them out")
        raw, taken = Headerless(rate, encoding, channels), parse(channel)
        raw.check(source)
        program = None if command is None else Program(command)
        if save:
            check_save(save, source)
        from speechrnn.model import Model

        recogniser = Model(model)
        spotter = make_spotter(recogniser, threshold, words, smoothing, refractory, hysteresis)
        with contextlib.ExitStack() as stack:
            feed = stack.enter_context(open_feed(source, device, raw, taken, realtime))
            recording = stack.enter_context(Recording(save)) if save else None
            live = format is Format.text and sys.stdout.isatty()
            view = stack.enter_context(View(spotter, recogniser.labels)) if live else None
            listener = Listener(spotter, feed, recording, view)
            listener.outputs += [] if live else [write_text if format is Format.text else write_jsonl]
            listener.outputs += [recording.label] if recording else []
            listener.outputs += [program.start] if program else []
            with contextlib.suppress(KeyboardInterrupt):
                listener.run()
        listener.summarize()


class Listener:
    """Runs a spotter over the pieces of a feed, hands detections on, and counts them.

    Times are seconds of sound since the beginning, as in the recording: also after a device was away.
    """

    def __init__(self, spotter: "Spotter", feed: Feed, recording: Recording | None, view: "View | None") -> None:
        self.outputs: list[Callable[[Detection], None]] = []
        self.feed, self.counts = feed, Counter[str]()
        self.latest = np.zeros(0, np.float32)
        self.seconds = self._origin = 0.0
        self._spotter, self._recording, self._view = spotter, recording, view
        self._losses = self._dropped = 0
        self._lost = self._silent = False
        self._device: Device | None = None  # that was lost last

    def run(self) -> None:
        """Listen until the sound ends."""
        for samples in self.feed.pieces:
            if self.feed.microphone:
                self._notice(self.feed.microphone)
            self._process(samples)
            if self._view:
                self._view.update(self)
        self._report(self._spotter.finish())
        if self._view:
            self._view.update(self, last=True)

    @property
    def dropped(self) -> int:
        return self.feed.microphone.dropped if self.feed.microphone else 0

    @property
    def complaint(self) -> str:
        """What is wrong with the sound of the last seconds, in plain words; empty if nothing is."""
        from speechrnn.microphone import measure

        if self._lost:
            return "lost: waiting for it to come back"
        if not len(self.latest):
            return ""
        return self.feed.microphone.complaint(self.latest) if self.feed.microphone else measure(self.latest).complaint

    def summarize(self) -> None:
        """Print how much sound there was, and the count of each word, on stderr."""
        counts = ", ".join(f"{word} {count}" for word, count in self.counts.items())
        total = self.counts.total()
        dropped = f"; {self.dropped} blocks dropped" if self.feed.microphone else ""
        found = f"{total} detection{'' if total == 1 else 's'}{': ' if counts else ''}{counts}"
        say(f"listened for {self.seconds:.1f} s, {found}{dropped}")

    def _process(self, samples: np.ndarray) -> None:
        self.seconds += len(samples) / RATE
        self.latest = np.concatenate([self.latest, samples])[-round(LEVEL_SECONDS * RATE) :]
        if self._recording:
            self._recording.write(samples)
        self._report(self._spotter.process(samples))

    def _report(self, detections: list["Detection"]) -> None:
        for detection in detections:
            detection.time = round(self._origin + detection.time, 4)  # no copy: its peak still rises
            self.counts[detection.label] += 1
            for output in self.outputs:
                output(detection)
        if self._view:
            self._view.add(detections, self._origin)

    def _notice(self, microphone: "Microphone") -> None:
        """Print each loss and return of the device, dropped blocks and silence, once each time."""
        if microphone.losses != self._losses:
            self._losses = microphone.losses
            self._spotter.reset()  # what comes next has nothing to do with what came last
            self._origin, self.latest = self.seconds, self.latest[:0]
            self._device = microphone.device
            say(f"{microphone.device.name}: lost: waiting for it to come back")
        elif self._device and self._lost and not microphone.lost:
            same = (self._device.host_api, self._device.name) == (microphone.device.host_api, microphone.device.name)
            place = f" as number {microphone.device.index}" if self._device.index != microphone.device.index else ""
            back = f"is back{place}" if same else f"is listened to instead of {self._device.name}"
            say(f"{microphone.device.name}: {back}")
        self._lost = microphone.lost
        if microphone.dropped != self._dropped:
            say(f"{microphone.dropped} blocks dropped so far: this machine can't keep up")
            self._dropped = microphone.dropped
        full = len(self.latest) == round(LEVEL_SECONDS * RATE)
        silent = full and not self.latest.any() and not microphone.cancels  # which has a warning of its own
        if silent and not self._silent:
            say(f"{microphone.device.name}: {self.complaint}")
        self._silent = silent
