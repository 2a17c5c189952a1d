"""Numbers of a run in, pictures out."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen is needed
from matplotlib import pyplot as plt  # noqa: E402


def curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss, accuracy, learning rate and gradient norms over the epochs of a run."""
    epochs = [m["epoch"] for m in history]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained", sharex=True)
    loss, accuracy, rate, norms = axes.flat
    loss.plot(epochs, [m["training_loss"] for m in history], label="training (augmented, smoothed labels)")
    loss.plot(epochs, [m["validation_loss"] for m in history], label="validation")
    loss.set(title="cross-entropy")
    loss.legend()
    accuracy.plot(epochs, [100.0 * m["validation_accuracy"] for m in history])
    accuracy.set(title="validation accuracy (%)")
    rate.plot(epochs, [m["learning_rate"] for m in history])
    rate.set(title="learning rate", xlabel="epoch")
    for key in (key for key in history[0] if key.startswith("gradient_norm/")):
        norms.plot(epochs, [m.get(key, float("nan")) for m in history], label=key.removeprefix("gradient_norm/"), lw=1)
    norms.set(title="gradient norm by layer (last step of each epoch)", xlabel="epoch", yscale="log")
    norms.legend(fontsize=5, ncols=2)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def confusions(target: Sequence[int], predicted: Sequence[int], labels: Sequence[str], path: Path) -> None:
    """Confusion matrix in per cent of each row, which is what was said."""
    from sklearn.metrics import ConfusionMatrixDisplay

    side = 2.5 + 0.55 * len(labels)
    figure, axis = plt.subplots(figsize=(side, side), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        target, predicted, labels=range(len(labels)), display_labels=labels, normalize="true", values_format=".0%",
        xticks_rotation="vertical", cmap="Blues", ax=axis, colorbar=False, text_kw={"fontsize": 7},
    )  # fmt: skip
    axis.set(xlabel="heard", ylabel="said")
    figure.savefig(path, dpi=110)
    plt.close(figure)
