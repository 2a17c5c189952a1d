"""`speechrnn doctor`: a check of the microphone and of this machine's speed."""

import json
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from speechrnn.channels import OPPOSITE_PHASE, Channel, parse
from speechrnn.cli.options import ChannelOption
from speechrnn.errors import SoundWarning
from speechrnn.programs import ModelOption, report_errors, say

if TYPE_CHECKING:
    from speechrnn.microphone import Microphone
    from speechrnn.model import Model

NOISE_DBFS = -35.0  # words are lost in a floor above that
OFFSET = 0.02
FAINTER_DB = 20.0  # than the loudest channel: one so faint only lowers the mean
FASTEST = 0.8  # of real time: a machine needs some for itself


@dataclass(frozen=True)
class Finding:
    """What was measured."""

    device: str
    host_api: str
    native_rate: int  # Hz
    seconds: float  # of sound
    rms_dbfs: float
    peak_dbfs: float
    noise_floor_dbfs: float
    clipped_share: float
    dc_offset: float  # full scale 1.0
    exact_zeros: bool
    dropped_blocks: int
    lost: bool
    real_time_factor: float
    channel: int | str = "mean"  # that was listened to
    channel_rms_dbfs: tuple[float, ...] = ()  # of each channel
    channels_cancel: bool = False


def doctor(
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=0.5, max=600.0, help="How long to listen")] = 5.0,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Number or part of a name; see speechrnn devices")
    ] = None,
    model: ModelOption = None,
    channel: ChannelOption = "mean",
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON")] = False,
) -> None:
    """Listen for some seconds and say what is wrong with the microphone, and what to do.

    The exit code is 0 if it can be used, 1 if there is a problem, 2 if there is no device.

    Example: speechrnn doctor --seconds 10
    """
    with report_errors():
        from speechrnn.microphone import Microphone
        from speechrnn.model import Model

        recogniser = Model(model)
        taken = parse(channel)
        with Microphone(device, taken, every_channel=True) as microphone, warnings.catch_warnings():
            warnings.simplefilter("ignore", SoundWarning)  # it stands in the advice
            say(f"listening to {microphone.device.name} for {seconds:g} s: say a few words")
            samples = _record(microphone, seconds)
            finding = _measure(microphone, samples, recogniser, taken)
        problems, more = advice(finding), hints(finding)
        if as_json:
            sys.stdout.write(json.dumps(asdict(finding) | {"problems": problems, "hints": more}, indent=2) + "\n")
        else:
            _print(finding, problems, more)
        if problems:
            raise typer.Exit(1)


def _record(microphone: "Microphone", seconds: float) -> np.ndarray:
    """Sound float32 [samples] of so many seconds, or less if the device stops giving any."""
    from speechrnn.audio import SAMPLE_RATE

    pieces, wanted = [np.zeros(0, np.float32)], round(seconds * SAMPLE_RATE)
    for piece in microphone:
        pieces.append(piece)
        wanted -= len(piece)
        if wanted <= 0 or microphone.lost:
            break
    return np.concatenate(pieces)


def _measure(microphone: "Microphone", samples: np.ndarray, model: "Model", channel: Channel) -> Finding:
    from speechrnn.level import dbfs, rms
    from speechrnn.microphone import measure

    silence = np.zeros(model.card.block_length, np.float32)
    blocks = np.resize(samples if len(samples) else silence, (max(1, len(samples) // len(silence)), len(silence)))
    level = measure(blocks.ravel())
    loudness = [rms(block) for block in blocks]
    return Finding(
        device=microphone.device.name,
        host_api=microphone.device.host_api,
        native_rate=microphone.device.rate,
        seconds=round(len(samples) / model.card.sample_rate, 3),
        rms_dbfs=round(level.rms, 1),
        peak_dbfs=round(level.peak, 1),
        noise_floor_dbfs=round(dbfs(float(np.percentile(loudness, 10))), 1),
        clipped_share=round(level.clipped, 5),
        dc_offset=round(level.offset, 5),
        exact_zeros=level.zeros,
        dropped_blocks=microphone.dropped,
        lost=microphone.lost,
        real_time_factor=round(_real_time_factor(blocks, model), 5),
        channel=channel,
        channel_rms_dbfs=tuple(round(level, 1) for level in microphone.channel_levels),
        channels_cancel=microphone.cancels,
    )


def _real_time_factor(blocks: np.ndarray, model: "Model") -> float:
    """Time of this machine for each second of sound, block by block [blocks, samples], as in listening."""
    from speechrnn.spotter import Spotter

    spotter = Spotter(model)
    spotter.process(blocks[0])
    start = time.process_time()
    for block in blocks:
        spotter.process(block)
    return (time.process_time() - start) / (len(blocks) * model.card.block_seconds)


def advice(finding: Finding) -> list[str]:
    """Each problem in plain words, with what to do about it; none if the microphone can be used."""
    from speechrnn.level import FLOOR_DBFS
    from speechrnn.microphone import CLIPPED_SHARE, QUIET_DBFS

    if not finding.seconds or finding.lost:
        return ["it stopped giving sound: see to its plug and cable, or close the program that took it"]
    if finding.channels_cancel:
        return [OPPOSITE_PHASE]
    if finding.exact_zeros:
        if isinstance(finding.channel, int) and max(finding.channel_rms_dbfs, default=FLOOR_DBFS) > FLOOR_DBFS:
            return [f"channel {finding.channel} has nothing but exact zeros: {_take_another(finding)}"]
        return ["nothing but exact zeros: it is muted, or this program has no permission to listen"]
    checks = (
        (finding.peak_dbfs < QUIET_DBFS, "too quiet: turn the input level up, or come closer"),
        (finding.clipped_share > CLIPPED_SHARE, "clipped: turn the input level down, or move away"),
        (
            finding.noise_floor_dbfs > NOISE_DBFS,
            "noisy: find what hums or blows, or come closer and lower the level",
        ),
        (abs(finding.dc_offset) > OFFSET, "DC offset: cable, sound card or its driver is at fault; try another input"),
        (finding.dropped_blocks > 0, "sound was dropped: other programs keep this machine busy; close some"),
        (finding.real_time_factor > FASTEST, "this machine is too slow for this model: take a smaller one"),
    )
    return [text for failed, text in checks if failed]


def hints(finding: Finding) -> list[str]:
    """What could be better, though it can be used so: which channel to take."""
    levels = finding.channel_rms_dbfs
    if finding.channel != "mean" or len(levels) < 2 or finding.channels_cancel or not finding.seconds:
        return []
    if max(levels) - min(levels) > FAINTER_DB:
        return [f"some channels hear next to nothing, and the mean is quieter for that: {_take_another(finding)}"]
    if len(levels) > 2:
        return [
            f"it has {len(levels)} channels, not all of which need be microphones (microphone arrays give what is "
            "played, too): find one that hears you alone, and take it, for instance with --channel 1"
        ]
    return []


def _take_another(finding: Finding) -> str:
    return f"take the loudest, with --channel {int(np.argmax(finding.channel_rms_dbfs)) + 1}"


def _print(finding: Finding, problems: list[str], more: list[str]) -> None:
    levels = ", ".join(f"{number}: {level:.1f}" for number, level in enumerate(finding.channel_rms_dbfs, start=1))
    rows = {
        "device": f"{finding.device} ({finding.host_api})",
        "native rate": f"{finding.native_rate} Hz",
        "recorded": f"{finding.seconds:.1f} s",
        "level": f"{finding.rms_dbfs:.1f} dBFS RMS, {finding.peak_dbfs:.1f} dBFS peak",
        "channels": f"{levels} dBFS RMS; {finding.channel} is listened to",
        "noise floor": f"{finding.noise_floor_dbfs:.1f} dBFS",
        "clipped": f"{finding.clipped_share:.2%} of samples",
        "DC offset": f"{finding.dc_offset:+.4f} of full scale",
        "exact zeros only": "yes" if finding.exact_zeros else "no",
        "dropped blocks": str(finding.dropped_blocks),
        "real-time factor": f"{finding.real_time_factor:.4f}",
    }
    lines = [f"{name:<18}{text}" for name, text in rows.items()]
    lines += [f"problem: {problem}" for problem in problems] or ["good: this microphone can be used"]
    lines += [f"hint: {hint}" for hint in more]
    sys.stdout.write("\n".join(lines) + "\n")
