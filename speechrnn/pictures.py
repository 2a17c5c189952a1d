"""Pictures of posteriors, confusions, DET curves and training runs. Needs matplotlib (the extra "plot"); no screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
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
MISSED_PERCENT = (0.1, 99.9)  # lowest and highest that a DET curve shows: 0 and 100 % are infinitely far away
MISSED_TICKS = (0.1, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 95, 99)
RATE_TICKS = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


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
    """Draw the spectrogram of `samples` [samples] at 16 kHz, and under it their `posteriors` [blocks, labels]."""
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
    """Draw the confusion matrix `counts` [reference labels, predicted labels], in per cent of each row."""
    side = 2.5 + 0.5 * len(labels)
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    share = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0.0, vmax=100.0)
    for row, column in np.argwhere(counts):
        color = "white" if share[row, column] > 50 else "black"
        axis.text(column, row, f"{share[row, column]:.1f}", ha="center", va="center", fontsize=7, color=color)
    axis.set_xticks(range(len(labels)), labels, rotation=90)
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="predicted label", ylabel="reference label", title="per cent of each reference label")
    save(figure, path)


def det(points: Sequence[tuple[float, float, float]], chosen: tuple[float, float], path: Path) -> None:
    """DET curve (Martin et al. 1997): misses on a normal deviate axis, false accepts per hour on a logarithmic one.

    Below the rate of a single false accept the axis is linear, so that none at all has a place.

    Parameters
    ----------
    points : threshold, false accepts per hour, miss rate; in any order
    chosen : false accepts per hour and miss rate of the thresholds in use
    path : picture to write
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    thresholds, rates, shares = (np.array(column) for column in zip(*sorted(points), strict=True))
    missed = np.clip(100.0 * shares, *MISSED_PERCENT)
    axis.plot(rates, missed, marker=".", lw=1.5, label="one threshold for all words")
    axis.plot(chosen[0], np.clip(100.0 * chosen[1], *MISSED_PERCENT), "o", ms=9, mfc="none", color="C3")
    axis.lines[-1].set_label("thresholds in use")
    lowest = min((rate for rate in (*rates, chosen[0]) if rate > 0.0), default=1.0)
    axis.set_xscale("symlog", linthresh=lowest, linscale=0.4)
    axis.set_yscale("function", functions=(_normal_deviate, _percent))
    ticks = [rate for rate in RATE_TICKS if rate == 0.0 or 0.5 * lowest <= rate <= 2.0 * max(*rates, chosen[0])]
    axis.set_xticks(ticks, [f"{rate:g}" for rate in ticks], minor=False)
    axis.set_xticks([], minor=True)
    axis.set_yticks(MISSED_TICKS, [f"{percent:g}" for percent in MISSED_TICKS])
    # The range in which models differ fills the picture: beyond 40 % nobody would use it.
    axis.set_ylim(max(min(0.8 * missed.min(), 1.5), MISSED_PERCENT[0]), min(max(40.0, 125.0 * chosen[1]), 99.9))
    axis.set_xlim(left=-0.2 * lowest)
    axis.set(xlabel="false accepts per hour", ylabel="words missed (%)")
    named: list[np.ndarray] = []  # places, in pixels: of points that lie close to each other one is named
    for threshold, rate, percent in zip(thresholds, rates, missed, strict=True):
        place = axis.transData.transform((rate, percent))
        if percent < axis.get_ylim()[1] and all(np.abs(place - other).max() > 20.0 for other in named):
            named.append(place)
            axis.annotate(f"{threshold:g}", (rate, percent), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right")
    save(figure, path)


def _normal_deviate(percent: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of shares in per cent."""
    quantile = np.vectorize(NormalDist().inv_cdf, otypes=[float])
    return quantile(np.clip(np.asarray(percent, float), *MISSED_PERCENT) / 100.0)


def _percent(deviate: np.ndarray) -> np.ndarray:
    """The inverse of `_normal_deviate`."""
    return 100.0 * np.vectorize(NormalDist().cdf, otypes=[float])(np.asarray(deviate, float))


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
    """Norms of gradients [blocks], and seconds of a block, by name, against the time before the last, logarithmic."""
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
    """Reliability diagram (Guo et al. 2017): the share that is right by probability, and under it how many clips.

    On the diagonal, confidence equals accuracy. The whiskers are Wilson's intervals of 95 %: of few clips, little
    is known. `found` has bins by the name of a line.
    """
    figure = Figure(figsize=(6, 7.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="grey", ls=":", lw=1)
    most = 1
    for number, (name, bins) in enumerate(found.items()):
        places = np.array([b.confidence for b in bins])
        color = f"C{number}"
        shares = np.array([b.accuracy for b in bins])
        clips = np.array([b.count for b in bins])
        middle = (clips * shares + 1.92) / (clips + 3.84)
        half = 1.96 * np.sqrt(clips * shares * (1.0 - shares) + 0.96) / (clips + 3.84)
        whiskers = np.maximum([shares - middle + half, middle + half - shares], 0.0)
        above.errorbar(places, shares, whiskers, marker="o", ms=5, lw=1.5, elinewidth=0.8, label=name, color=color)
        width = 0.04 / len(found)
        moved = places + width * (number - (len(found) - 1) / 2)
        bars = below.bar(moved, clips, width=width, color=color)
        below.bar_label(bars, fontsize=6, rotation=90, padding=2)
        most = max(most, *clips)
    above.set(ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.03))
    below.set(xlabel="probability of the label", ylabel="clips", yscale="log", ylim=(0.8, 12 * most))
    above.grid(alpha=0.3)
    above.legend(loc="lower right")
    save(figure, path)
