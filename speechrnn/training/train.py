"""The training loop: settings to a run folder with checkpoints, metrics, curves and a confusion matrix."""

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from speechrnn import pictures
from speechrnn.errors import ConfigError, ModelError
from speechrnn.evaluation import corpus
from speechrnn.training import checkpoint, from_onnx
from speechrnn.training.config import Config, TrainConfig
from speechrnn.training.data import PREFETCHED_BATCHES, Batch, TrainingData, evaluation_tensors, validation_clips
from speechrnn.training.network import Recognizer
from speechrnn.training.objective import Objective, clip_logits, stream_loss
from speechrnn.training.processes import launch, together
from speechrnn.training.run_folder import RunFolder


def learning_rate(step: int, steps: int, train: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    warmup = max(1, round(train.warmup_share * steps))
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    return train.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def moving_average(decay: float) -> Callable:
    """Exponential moving average of weights, with a lower decay in the first steps, so that initial weights vanish."""

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(averaged, current, count)

    return update


def gradient_norms(network: nn.Module) -> dict[str, float]:
    """Norm of the gradient of each layer, in the recurrent stack of each weight, where it may vanish or explode."""
    squares: dict[str, float] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            layer = name if name.startswith("cell.") else name.rpartition(".")[0]
            squares[layer] = squares.get(layer, 0.0) + float(parameter.grad.square().sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}


@torch.no_grad()
def evaluation_logits(model: Recognizer, audio: Tensor, batch_size: int = 128) -> Tensor:
    """Log posteriors [clips, labels] without dropout, a batch at a time."""
    model.eval()
    return torch.cat([clip_logits(model, part) for part in audio.split(batch_size)])


def confusion_matrix(target: Tensor, predicted: Tensor, labels: int) -> Tensor:
    """Clips by reference and predicted label, int64 [labels, labels], of labels [clips] each."""
    return torch.bincount(target * labels + predicted, minlength=labels**2).reshape(labels, labels)


def predict(model: Recognizer, audio: Tensor) -> Tensor:
    """The label of each clip [clips]."""
    return evaluation_logits(model, audio).argmax(1)


class Run:
    """One training run, in its folder. `resume` goes on from the last finished epoch.

    Where there are several processes, each has such an object, and the first one alone prints and writes.
    """

    def __init__(self, config: Config, folder: Path, resume: bool, console: Console) -> None:
        self.config, self.folder = config, folder
        self.kept = RunFolder(folder)
        self.last, self.best = self.kept.last, self.kept.best
        self.kept.check(config, resume)
        self.labels = corpus.task_labels(config.data.task)
        self.fabric = launch(config)
        self.first = self.fabric.is_global_zero
        self.console = console if self.first else Console(quiet=True)
        if not self.first:
            logging.getLogger("speechrnn").setLevel(logging.ERROR)  # the first one logs what is skipped
        torch.set_num_threads(config.train.threads or max(1, (os.cpu_count() or 1) // self.fabric.world_size))
        self.fabric.seed_everything(config.train.seed, verbose=False)
        self.history: list[dict[str, float]] = []
        self.step = 0
        with together(self.fabric):
            self._build(resume)
        # Not with `Fabric.setup`, whose mixed precision would round the sound itself to 16 bits.
        self.loss = self.fabric.strategy.setup_module(self.objective)

    def _build(self, resume: bool) -> None:
        """Build network and optimizer: new, from another run's weights, or as this run left them."""
        train = self.config.train
        self.recognizer = Recognizer(self.config, self.labels)
        if from_onnx.is_onnx(train.start_from) and not resume:
            from_onnx.start(self.recognizer, train.start_from)
        elif train.start_from and not resume:
            self._load(Path(train.start_from), "weights")
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            self.recognizer = nn.SyncBatchNorm.convert_sync_batchnorm(self.recognizer)
        self.objective = Objective(self.config, self.recognizer, self.fabric)
        self.fabric.to_device(self.objective)
        optimizer = torch.optim.AdamW(self._parameter_groups(), lr=train.learning_rate)
        self.optimizer: Any = self.fabric.setup_optimizers(optimizer)
        self.average = AveragedModel(
            self.recognizer, multi_avg_fn=moving_average(train.average_decay), use_buffers=True
        )
        if resume:
            self._restore()

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Weight decay on matrices and kernels, none on biases and normalisation."""
        decayed = [p for p in self.objective.parameters() if p.ndim > 1]
        others = [p for p in self.objective.parameters() if p.ndim <= 1]
        return [
            {"params": decayed, "weight_decay": self.config.train.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def _load(self, path: Path, which: str) -> dict[str, Any]:
        """Put the weights of a checkpoint into the recognizer, if it is of the same kind; returns the checkpoint."""
        content = checkpoint.read(path)
        if which not in content:
            raise ModelError(
                f"{path}: holds no state of training, as a copied best.pt has none: resume from the last.pt of its run,"
                " or begin another run from its weights with train.start_from"
            )
        before, now = checkpoint.settings_of(content, path), self.config
        same = (before.front_end, before.network) == (now.front_end, now.network)
        if not same or content["labels"] != list(self.labels):
            raise ConfigError(f"{path}: was trained with another network, front end or task: start a run without it")
        with checkpoint.checked(path):
            self.recognizer.load_state_dict(content[which])
        return content

    def _restore(self) -> None:
        content = self._load(self.last, "current")
        if (self.objective.regressor is not None) != ("regressor" in content):
            raise ConfigError(f"{self.last}: was trained {'without' if self.config.data.hints else 'with'} data.hints")
        with checkpoint.checked(self.last):
            self.average.load_state_dict(content["average"])
            if self.objective.regressor is not None:
                self.objective.regressor.load_state_dict(content["regressor"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.history = [{str(key): float(value) for key, value in row.items()} for row in content["history"]]
            self.step = int(content["step"])
            if self.step < 1 or not all({"epoch", "validation_accuracy"} <= row.keys() for row in self.history):
                raise KeyError

    def fit(self) -> dict[str, float]:
        """Train to the last epoch; returns the metrics of the best one (of the last one if it isn't the first process).

        Raises
        ------
        ConfigError
            if the sound can't be used, or the loss becomes infinite
        InputError
            if the run folder can't be written
        """
        with together(self.fabric), self.kept.kept_whole():
            self._prepare()
        if not self.history:
            self._measure_rates()
        with self.kept.kept_whole(), self.kept.board(len(self.history)) if self.first else nullcontext() as board:
            for epoch in range(len(self.history), self.config.train.epochs):
                metrics = self._epoch(epoch)
                self.history.append(metrics)
                if board:
                    for key, value in metrics.items():
                        board.add_scalar(key, value, epoch)
                    board.flush()
                    self._save(metrics)
        if self.first:
            with self.kept.kept_whole():
                self._finish()
        self.fabric.barrier()
        return self._best() if self.first else self.history[-1]

    def _prepare(self) -> None:
        """Read sound into memory, and keep the settings."""
        held_out = validation_clips(self.config.data.folder, self.labels) if self.first else []
        if self.first:
            self.kept.keep_settings(self.config)
        with self._progress() as bar:
            reading = bar.add_task("reading sound", total=None)
            self.data = TrainingData(
                self.config,
                self.labels,
                lambda done, total: bar.update(reading, completed=done, total=total),
                self.fabric.global_rank,
                self.fabric.world_size,
            )
            self.steps = self.config.train.epochs * len(self.data)
            self.data.check_batch_size()
            if from_onnx.is_onnx(self.config.train.start_from) and not self.history:
                clips = self.fabric.to_device(self.fabric.broadcast(self.data[0][0]))  # the same in each process
                from_onnx.measure_statistics(self.recognizer, clips)
                self.average.module.load_state_dict(self.recognizer.state_dict())
            if self.objective.teachers and self.config.train.teachers_view == "clean":
                teaching = bar.add_task("teachers", total=None)
                self.data.posteriors = self.objective.teachers.of_clips(
                    self.data.pool.clips[: self.data.pool.own_clips],
                    self.config.tail_samples,
                    lambda done, total: bar.update(teaching, completed=done, total=total),
                )
            if not self.first:
                return
            self.validation = [
                self.fabric.to_device(t) for t in evaluation_tensors(held_out, self.labels, self.config.tail_samples)
            ]
            self.validation_streams = [self.fabric.to_device(t) for t in self.data.validation_sequences()]
        parameters = sum(p.numel() for p in self.recognizer.parameters())
        self.console.print(
            f"{len(self.data.pool.clips)} training clips, {len(self.data) * self.data.clips_per_batch} an epoch;"
            f" {len(held_out)} validation clips; {parameters} parameters; run folder {self.folder}"
        )

    def _finish(self) -> None:
        best = self._best()
        self.kept.write_metrics(self.history)  # once more: the run may have been killed between checkpoint and metrics
        self._draw()
        self.console.print(
            f"best: {best['validation_accuracy']:.2%} of the validation clips, epoch {best['epoch']:.0f} -> {self.best}"
        )

    def _best(self) -> dict[str, float]:
        """With clips alone, the epoch with the highest accuracy; with streams the last.

        With streams false accepts decrease to the end, which the loss of a few sequences does not show.
        """
        if self.config.stream.rows:
            return self.history[-1]
        return max(self.history, key=lambda m: m["validation_accuracy"])

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True)

    def _batches(self) -> Iterable[Batch]:
        """This process's part of the batches of the epoch, on its device."""
        return cast(Iterable, self.fabric.setup_dataloaders(self.data.loader(), use_distributed_sampler=False))

    def _training_mode(self) -> None:
        """Put the network into training mode."""
        self.recognizer.train()
        if self.config.train.freeze_normalisation:
            for module in self.recognizer.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()

    def _train_step(self, batch: Batch) -> tuple[float, float]:
        """One update; returns the loss and the norm of the whole gradient before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.config.train)
        self._training_mode()
        with self.fabric.autocast():
            loss = self.loss(*batch)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(
            self.recognizer, self.optimizer, max_norm=self.config.train.clip_gradient_norm, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.average.update_parameters(self.recognizer)
        self.step += 1
        return loss.item(), float(norm)

    def _epoch(self, epoch: int) -> dict[str, float]:
        seed = (self.config.train.seed + self.fabric.global_rank) * 100_003 + epoch  # a resumed run draws the same
        self.fabric.seed_everything(seed % 2**32, verbose=False)
        self.data.set_epoch(epoch)
        self.objective.reset_streams()  # so that a resumed run does the same
        losses, norms, clips, started = [], [], 0, time.perf_counter()
        with self._progress() as bar:
            task = bar.add_task(f"epoch {epoch + 1}/{self.config.train.epochs}", total=len(self.data))
            for batch in self._batches():
                loss, norm = self._train_step(batch)
                losses.append(loss)
                norms.append(norm)
                clips += len(batch[0]) * self.fabric.world_size
                bar.update(task, advance=1, description=f"epoch {epoch + 1}/{self.config.train.epochs} loss {loss:.3f}")
        seconds = time.perf_counter() - started
        losses = cast(Tensor, self.fabric.all_reduce(torch.tensor(losses))).tolist()  # each process has had a part
        finite = [norm for norm in norms if math.isfinite(norm)]
        skipped = (
            self.config.train.precision == "16-mixed"
        )  # it leaves out a step whose gradient doesn't fit into 16 bits
        with together(self.fabric):
            if not all(map(math.isfinite, losses)) or not (finite if skipped else finite == norms):
                raise ConfigError("training diverged (a loss or gradient is not finite): lower train.learning_rate")
        clipped = max(1.0, norms[-1] / self.config.train.clip_gradient_norm)
        layers = {
            layer: norm * clipped for layer, norm in gradient_norms(self.recognizer).items()
        }  # as before clipping
        return {
            "epoch": epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "training_loss": sum(losses) / len(losses),
            **(self._evaluate() if self.first else {}),
            "gradient_norm": sum(finite) / len(finite),
            "gradient_norm_max": max(finite),
            "clips_per_second": clips / seconds,
            **{f"gradient_norm/{layer}": value for layer, value in layers.items()},
        }

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        """Metrics of the averaged weights on held-out clips and sequences."""
        average = cast(Recognizer, self.average.module)
        audio, target = self.validation
        logits = evaluation_logits(average, audio)
        counts = confusion_matrix(target, logits.argmax(1), len(self.labels)).double()
        recalls = (counts.diag() / counts.sum(1))[counts.sum(1) > 0]
        stream, stream_target, words = self.validation_streams
        of_streams = 0.0  # where clips alone are trained
        if len(stream):
            logits_of_stream, _ = average.logits(stream, stream.new_zeros(len(stream), average.state_size))
            of_streams = stream_loss(self.config, average, logits_of_stream, stream_target, words).item()
        return {
            "validation_loss": F.cross_entropy(logits, target).item() + self.config.stream.weight * of_streams,
            "validation_stream_loss": of_streams,
            "validation_accuracy": (logits.argmax(1) == target).float().mean().item(),
            "validation_recall_min": float(recalls.min()),
        }

    def _save(self, metrics: dict[str, float]) -> None:
        """Write checkpoints and metrics; a killed run resumes from one file."""
        shared = {
            "config": self.config.to_dict(),
            "labels": list(self.labels),
            "history": self.history,
            "step": self.step,
        }
        weights = self.average.module.state_dict()
        if self._best() is metrics:
            checkpoint.save(self.best, {**shared, "weights": weights})
        current = {"current": self.recognizer.state_dict(), "average": self.average.state_dict()}
        if self.objective.regressor is not None:
            current["regressor"] = self.objective.regressor.state_dict()
        state = {"optimizer": self.optimizer.state_dict(), **current}
        checkpoint.save(self.last, {**shared, "weights": weights, **state})
        self.kept.write_metrics(self.history)
        self.console.print(
            f"epoch {metrics['epoch']:.0f}: loss {metrics['training_loss']:.4f}, validation"
            f" {metrics['validation_accuracy']:.2%} (stream loss {metrics['validation_stream_loss']:.4f}),"
            f" gradient norm {metrics['gradient_norm']:.2f}"
            f" (max {metrics['gradient_norm_max']:.2f}), {metrics['clips_per_second']:.0f} clips/s"
        )

    def _draw(self) -> None:
        pictures.curves(self.history, self.folder / "curves.png")
        model, _ = checkpoint.recognizer(self.best)
        audio, target = (t.cpu() for t in self.validation)
        counts = confusion_matrix(target, predict(model, audio), len(self.labels))
        pictures.confusions(counts.numpy(), self.labels, self.folder / "confusion.png")

    def _measure_rates(self, batches: int = 16) -> None:
        """Print clips per second of data, of the network, and of both together, to see which one is the bottleneck."""

        def rate(source: Iterator[Batch], learn: bool) -> float:
            clips, started = 0, 0.0
            for number, batch in enumerate(itertools.islice(source, batches + ahead)):
                if learn:
                    with self.fabric.autocast():
                        loss = self.loss(*batch)
                    self.fabric.backward(loss)
                clips += len(batch[0]) * self.fabric.world_size
                if number + 1 == ahead:  # workers have started and filled their queues
                    clips, started = 0, time.perf_counter()
            return clips / max(time.perf_counter() - started, 1e-9)

        ahead = min(PREFETCHED_BATCHES, len(self.data) - 1)
        batches = min(batches, len(self.data) - ahead)
        if ahead < 1:
            return
        self._training_mode()
        kept = {name: tensor.clone() for name, tensor in self.recognizer.state_dict().items()}
        ready = self.fabric.to_device(self.data[0])
        rates = {
            "data": rate(iter(self.data.loader()), learn=False),
            "network": rate(itertools.repeat(ready), learn=True),
            "both": rate(iter(self._batches()), learn=True),
        }
        self.recognizer.load_state_dict(kept)  # batch normalisation has changed its statistics
        self.optimizer.zero_grad()
        self.console.print("clips per second: " + ", ".join(f"{name} {value:.0f}" for name, value in rates.items()))
