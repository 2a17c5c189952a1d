"""python -m benchmarks.command_line: what a command line costs, as ratios to a reference timed in the same run.

Machines differ and are noisy: only the ratios mean anything, and they come from runs taken in turns.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer
from rich.table import Table

from speechrnn import audio
from speechrnn.model import Model
from speechrnn.programs import report_errors
from speechrnn.terminal import plain_console
from speechrnn.timing import median_times
from speechrnn.training import config as settings

SPEECHRNN = [sys.executable, "-m", "speechrnn"]
IMPORTS = [sys.executable, "-c", "import numpy, onnxruntime"]


def command(words: Sequence[str]) -> Callable[[], object]:
    return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def make_clips(folder: Path, count: int) -> None:
    """One-second clips of noise; their content makes no difference to the time."""
    rng = np.random.default_rng(0)
    for i in range(count):
        soundfile.write(folder / f"{i:05}.wav", 0.1 * rng.standard_normal(audio.SAMPLE_RATE), audio.SAMPLE_RATE)


def tutorial(model: Model, files: Sequence[Path]) -> Callable[[], object]:
    """How a tutorial does it: librosa for the spectrogram, the same network in torch, one clip at a time."""
    import librosa
    import torch

    from speechrnn.training.network import Recognizer

    front_end = settings.FrontEndConfig(**model.card.front_end)
    config = settings.Config(front_end=front_end, network=settings.NetworkConfig(**model.card.network))
    network = Recognizer(config, model.labels).network.eval()

    def classify(file: Path) -> str:
        sound, rate = librosa.load(file, sr=audio.SAMPLE_RATE)
        mel = librosa.feature.melspectrogram(
            y=sound, sr=rate, n_fft=front_end.n_fft, hop_length=front_end.hop_length, n_mels=front_end.n_mels
        )
        frames = torch.from_numpy(librosa.power_to_db(mel)).T[None, : mel.shape[1] // 2 * 2]
        with torch.no_grad():
            logits, _ = network(frames, torch.zeros(1, network.state_size))
        return model.labels[int(torch.softmax(logits[0, -1], dim=0).argmax())]

    return lambda: [classify(file) for file in files]


def main(
    folder: Annotated[Path | None, typer.Argument(help="Clips to label; made up if left out")] = None,
    clips: Annotated[int, typer.Option(min=10, help="How many clips are made up")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Timed runs of each; the median counts")] = 5,
) -> None:
    """Time a cold start and bulk classification, against bare imports and against a tutorial's pipeline.

    Example: python -m benchmarks.command_line --clips 2000
    """
    with report_errors(), tempfile.TemporaryDirectory() as made:
        if folder is None:
            folder = Path(made)
            make_clips(folder, clips)
        files = audio.sound_files(folder)
        table = Table("measure", "ours", "reference", "ratio")

        ours, bare = median_times([command([*SPEECHRNN, "classify", str(files[0])]), command(IMPORTS)], 3 * rounds)
        table.add_row(
            "cold start: classify one clip / import numpy, onnxruntime",
            f"{1000 * ours:.0f} ms", f"{1000 * bare:.0f} ms", f"{ours / bare:.2f} times the time",
        )  # fmt: skip
        sample = files[: max(10, len(files) // 10)]  # the reference is slow
        bulk = command([*SPEECHRNN, "classify", str(folder), "--format", "jsonl"])
        ours, other = median_times([bulk, tutorial(Model(), sample)], rounds)
        rates = len(files) / ours, len(sample) / other
        table.add_row(
            f"bulk: classify {len(files)} clips, start included / librosa and torch, clip by clip",
            f"{rates[0]:.0f} clips/s", f"{rates[1]:.0f} clips/s", f"{rates[0] / rates[1]:.1f} times the rate",
        )  # fmt: skip
        plain_console().print(table)


if __name__ == "__main__":
    typer.run(main)
