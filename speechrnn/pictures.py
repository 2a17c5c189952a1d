"""Numbers in, pictures out. Needs matplotlib (the extra "plot"); no screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from speechrnn.card import Card
from speechrnn.errors import InputError
from speechrnn.files import replacing

if TYPE_CHECKING:
    from speechrnn.evaluation.calibration import Bin

SHOWN_FROM = 0.15  # labels whose posterior never gets that high aren't named
DYNAMIC_RANGE_DB = 80


def kind(path: Path) -> str:
    """The kind of picture, by the ending of its name; raises InputError naming the path if it can't be drawn."""
    formats = set(Figure().canvas.get_supported_filetypes()) - {"pgf"}  # needs LaTeX
    ending = path.suffix.lstrip(".").lower() or "png"
    if ending not in formats:
        raise InputError(f"{path}: can't draw a picture of this kind: use .png, .svg or .pdf")
    return ending


def save(figure: Figure, path: Path) -> None:
    """Write a picture, whole or not at all; raises InputError naming the path."""
    ending = kind(path)
    with replacing(path) as file:
        figure.savefig(file, format=ending, dpi=110)


def clip(samples: np.ndarray, posteriors: np.ndarray, card: Card, title: str, path: Path) -> None:
    """Spectrogram of `samples` [samples], and under it the `posteriors` [blocks, labels], on one time axis."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    window, hop, n_fft = (card.front_end[key] for key in ("window_length", "hop_length", "n_fft"))
    total = len(posteriors) * card.block_length
    sound = np.pad(
        samples, (window - hop, total - len(samples))
    )  # frames that end with their hop, as the model has them
    frames = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop] * np.hanning(window + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(frames, n_fft)))
    decibels = 10.0 * np.log10(np.maximum(power, 1e-10))
    top = decibels.max()
    extent = (0.0, total / card.sample_rate, 0.0, card.sample_rate / 2000.0)
    above.imshow(
        decibels.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - DYNAMIC_RANGE_DB, vmax=top
    )
    above.set_title(title, parse_math=False)  # a file name may hold dollar signs
    above.set(ylabel="frequency (kHz)")
    ends = np.arange(1, len(posteriors) + 1) * card.block_seconds  # a posterior is known at the end of its block
    named: dict[
        str, Line2D
    ] = {}  # given to the legend by hand: it would leave out labels that begin with an underscore
    for index, label in enumerate(card.labels):
        shown = posteriors[:, index].max() >= SHOWN_FROM
        look = {"color": f"C{len(named)}", "lw": 1.8} if shown else {"color": "lightgrey", "lw": 0.8}
        (line,) = below.plot(ends, posteriors[:, index], **look)
        if shown:
            named[label] = line
    below.axvline(len(samples) / card.sample_rate, color="grey", ls=":", lw=1)
    below.set(xlabel="time (s); the dotted line is the end of the clip", ylabel="posterior", ylim=(-0.02, 1.02))
    below.legend(named.values(), named.keys(), loc="upper left", fontsize=8)
    below.grid(alpha=0.3)
    save(figure, path)


def confusions(counts: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Confusion matrix `counts` [said, heard], in per cent of each row."""
    side = 2.5 + 0.5 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    share = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0.0, vmax=100.0)
    for said, heard in np.argwhere(counts):
        color = "white" if share[said, heard] > 50 else "black"
        axis.text(heard, said, f"{share[said, heard]:.1f}", ha="center", va="center", fontsize=7, color=color)
    axis.set_xticks(range(len(labels)), labels, rotation=90)
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="heard", ylabel="said", title="per cent of what was said")
    save(figure, path)


def det(points: Sequence[tuple[float, float, float]], chosen: tuple[float, float], path: Path) -> None:
    """DET curve: `points` are threshold, false accepts per hour, share of words missed; `chosen` is what is in use.

    False accepts stand on a logarithmic axis that is linear below one per hour: none at all is hoped for.
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    thresholds, false_accepts, missed = zip(*sorted(points), strict=True)
    axis.plot(false_accepts, [100.0 * share for share in missed], marker=".", lw=1.5)
    for i in range(0, len(points), max(1, len(points) // 10)):
        place = (false_accepts[i], 100.0 * missed[i])
        axis.annotate(f"{thresholds[i]:g}", place, xytext=(4, 4), textcoords="offset points", fontsize=7)
    axis.plot(chosen[0], 100.0 * chosen[1], "o", ms=9, mfc="none", color="C3", label="thresholds in use")
    axis.set_xscale("symlog", linthresh=1.0)
    axis.set(xlabel="false accepts per hour", ylabel="missed (%)", title="by threshold")
    axis.set_xlim(left=-0.05)
    axis.set_ylim(bottom=0.0)
    axis.grid(alpha=0.3)
    axis.legend()
    save(figure, path)


def curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss, accuracy, learning rate and gradient norms over the epochs of a training run."""
    epochs = [m["epoch"] for m in history]
    figure = Figure(figsize=(11, 7), layout="constrained")
    loss, accuracy, rate, norms = figure.subplots(2, 2, sharex=True).flat
    loss.plot(epochs, [m["training_loss"] for m in history], label="training (augmented, smoothed labels)")
    loss.plot(epochs, [m["validation_loss"] for m in history], label="validation")
    loss.set(title="cross-entropy")
    loss.legend()
    accuracy.plot(epochs, [100.0 * m["validation_accuracy"] for m in history])
    accuracy.set(title="validation accuracy (%)")
    rate.plot(epochs, [m["learning_rate"] for m in history])
    rate.set(title="learning rate", xlabel="epoch")
    layers = [key for key in history[0] if key.startswith("gradient_norm/")]
    colors = matplotlib.colormaps["turbo"](np.linspace(0, 1, max(len(layers), 1)))
    for key, color in zip(layers, colors, strict=False):
        norms.plot(epochs, [m[key] for m in history], label=key.removeprefix("gradient_norm/"), lw=1, color=color)
    norms.set(title="gradient norm by layer (last step of each epoch)", xlabel="epoch", yscale="log")
    norms.legend(fontsize=5, ncols=2)
    for axis in (loss, accuracy, rate, norms):
        axis.grid(alpha=0.3)
    save(figure, path)


def reaches(norms: Mapping[str, tuple[np.ndarray, float]], path: Path) -> None:
    """Norms of gradients [blocks], and seconds in a block, by name: against the time before the last, logarithmic."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, (norm, block_seconds) in norms.items():
        before = np.arange(len(norm))[::-1] * block_seconds
        axis.semilogy(before, np.maximum(norm, 1e-12), label=name, lw=1.8)
    axis.set(xlabel="seconds before the last block", ylabel="gradient, relative to the last block", ylim=(1e-8, None))
    axis.invert_xaxis()
    axis.legend(loc="lower left", fontsize=8)
    axis.grid(alpha=0.3)
    save(figure, path)


def reliability(found: "Mapping[str, Sequence[Bin]]", path: Path) -> None:
    """Reliability diagram (Guo et al. 2017): the share that is right by probability, a line for each of `found`.

    The area of a point is as its number of clips; on the diagonal, probabilities are what they say.
    """
    figure = Figure(figsize=(6, 6), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", ls=":", lw=1)
    for name, bins in found.items():
        places = [b.confidence for b in bins], [b.accuracy for b in bins]
        clips = sum(b.count for b in bins)
        (line,) = axis.plot(*places, lw=1.5, label=name)
        axis.scatter(*places, s=[20 + 600 * b.count / clips for b in bins], color=line.get_color(), alpha=0.4, lw=0)
    axis.set(xlabel="probability of the label", ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.03))
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left")
    save(figure, path)
