"""A config in, a run folder out: checkpoints, metrics as CSV and TensorBoard, pictures of curves and confusions."""

import csv
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sklearn.metrics import confusion_matrix, recall_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from speechrnn import pictures
from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError
from speechrnn.training import checkpoint, corpus
from speechrnn.training.augment import SpecAugment
from speechrnn.training.config import Config, TrainConfig, from_dict
from speechrnn.training.data import PREFETCHED_BATCHES, Batch, TrainingData, evaluation_tensors
from speechrnn.training.losses import alarm_losses, block_losses, clearest, divergence, smooth, word_logits
from speechrnn.training.network import Recognizer
from speechrnn.training.sounds import CLIP_SAMPLES


def learning_rate(step: int, steps: int, train: TrainConfig) -> float:
    """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    warmup = max(1, round(train.warmup_share * steps))
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    return train.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def moving_average(decay: float) -> Callable:
    """Exponential moving average of weights; a young one forgets faster, or the first weights would stay in it."""

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(averaged, current, count)

    return update


def gradient_norms(network: nn.Module) -> dict[str, float]:
    """Norm of the gradient of each layer, in the recurrent stack of each weight: here one sees it vanish or explode."""
    squares: dict[str, float] = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            layer = name if name.startswith("cell.") else name.rpartition(".")[0]
            squares[layer] = squares.get(layer, 0.0) + float(parameter.grad.square().sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def clip_logits(model: Recognizer, audio: Tensor, spec_augment: nn.Module | None = None) -> Tensor:
    """Log posterior [batch, labels] of clips [batch, samples], from a fresh state, as `Model.decide` takes it."""
    logits, _ = model.logits(audio, audio.new_zeros(len(audio), model.state_size), spec_augment)
    return clearest(smooth(logits.softmax(-1)), model.labels)


@torch.no_grad()
def evaluation_logits(model: Recognizer, audio: Tensor, batch_size: int = 128) -> Tensor:
    """Log posteriors [clips, labels] without dropout, a batch at a time."""
    model.eval()
    return torch.cat([clip_logits(model, part) for part in audio.split(batch_size)])


def predict(model: Recognizer, audio: Tensor) -> Tensor:
    """The label of each clip [clips]."""
    return evaluation_logits(model, audio).argmax(1)


class Run:
    """One training run, in its folder. `resume` goes on from the last finished epoch."""

    stream_state: Tensor  # [rows, state_size], of the sequences so far

    def __init__(self, config: Config, folder: Path, resume: bool, console: Console) -> None:
        self.config, self.folder, self.console = config, folder, console
        self.last, self.best = folder / "last.pt", folder / "best.pt"
        if resume and not self.last.exists():
            raise ConfigError(f"{folder}: nothing to resume (no {self.last.name}): leave out --resume")
        if not resume and self.last.exists():
            raise ConfigError(f"{folder}: holds a run already: use --resume, or --run-folder for a new one")
        train = config.train
        torch.set_num_threads(train.threads or os.cpu_count() or 1)
        self.fabric = Fabric(accelerator=train.accelerator, devices=1, precision=cast(Any, train.precision))
        self.fabric.seed_everything(train.seed, verbose=False)
        self.labels = corpus.task_labels(config.data.task)
        recognizer = Recognizer(config, self.labels)
        if train.start_from and not resume:
            self._load(recognizer, Path(train.start_from), "weights")
        self.optimizer = torch.optim.AdamW(self._parameter_groups(recognizer), lr=train.learning_rate)
        self.model, self.optimizer = self.fabric.setup(recognizer, self.optimizer, _reapply_compile=False)
        self.recognizer: Recognizer = self.model.module
        self.average = AveragedModel(
            self.recognizer, multi_avg_fn=moving_average(train.average_decay), use_buffers=True
        )
        self.spec_augment = SpecAugment(config.augment)
        self.history: list[dict[str, float]] = []
        self.step = 0
        self._forget()
        if resume:
            self._restore()

    def _parameter_groups(self, recognizer: Recognizer) -> list[dict[str, Any]]:
        """Weight decay on matrices and kernels, none on biases and normalisation."""
        decayed = [p for p in recognizer.parameters() if p.ndim > 1]
        others = [p for p in recognizer.parameters() if p.ndim <= 1]
        return [
            {"params": decayed, "weight_decay": self.config.train.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]

    def _load(self, recognizer: Recognizer, path: Path, which: str) -> dict[str, Any]:
        """Put the weights of a checkpoint into the recognizer, if it is of the same kind; returns the checkpoint."""
        content = checkpoint.read(path)
        before, now = from_dict(content["config"]), self.config
        same = (before.front_end, before.network) == (now.front_end, now.network)
        if not same or content["labels"] != list(self.labels):
            raise ConfigError(f"{path}: was trained with another network, front end or task: start a run without it")
        recognizer.load_state_dict(content[which])
        return content

    def _restore(self) -> None:
        content = self._load(self.recognizer, self.last, "current")
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.history, self.step = content["history"], content["step"]

    def fit(self) -> dict[str, float]:
        """Train to the last epoch; returns the metrics of the best one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(self.config.to_toml(), encoding="utf-8")
        with self._progress() as bar:
            reading = bar.add_task("reading sound", total=None)
            self.data = TrainingData(
                self.config, self.labels, lambda done, total: bar.update(reading, completed=done, total=total)
            )
            held_out = corpus.evaluation_clips(self.config.data.folder, self.labels, "validation")
            self.validation = [
                self.fabric.to_device(t) for t in evaluation_tensors(held_out, self.labels, self.config.tail_seconds)
            ]
            self.validation_streams = [self.fabric.to_device(t) for t in self.data.validation_sequences()]
        parameters = sum(p.numel() for p in self.recognizer.parameters())
        self.console.print(
            f"{len(self.data.sounds.clips)} training clips, {len(self.data) * self.data.clips_per_batch} an epoch;"
            f" {len(held_out)} validation clips; {parameters} parameters; run folder {self.folder}"
        )
        self.steps = self.config.train.epochs * len(self.data)
        if not self.steps:
            raise ConfigError("train.batch_size: is larger than an epoch has clips")
        if not self.history:
            self._measure_rates()
        with SummaryWriter(str(self.folder / "tensorboard"), purge_step=len(self.history)) as board:
            for epoch in range(len(self.history), self.config.train.epochs):
                metrics = self._epoch(epoch)
                for key, value in metrics.items():
                    board.add_scalar(key, value, epoch)
                board.flush()
                self._keep(metrics)
        best = self._best()
        self._write_metrics()  # once more: the run may have been killed between checkpoint and metrics
        self._draw()
        self.console.print(
            f"best: {best['validation_accuracy']:.2%} of the validation clips, epoch {best['epoch']:.0f} -> {self.best}"
        )
        return best

    def _best(self) -> dict[str, float]:
        """Clips alone are judged by accuracy. With streams the last epoch counts: false alarms become rarer to the end.

        (The loss of a few sequences does not show that; `speechrnn score` on long recordings does.)
        """
        if self.config.stream.rows:
            return self.history[-1]
        return max(self.history, key=lambda m: m["validation_accuracy"])

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True)

    def _batches(self) -> Iterable[Batch]:
        """The batches of the epoch, on the device."""
        return cast(Iterable, self.fabric.setup_dataloaders(self.data.loader()))

    def _loss(self, audio: Tensor, target: Tensor, stream: Tensor, stream_target: Tensor, words: Tensor) -> Tensor:
        """Of clips, each from a fresh state, and of sequences, which go on where those of the last step ended."""
        train, logits = self.config.train, clip_logits(self.recognizer, audio, self.spec_augment)
        loss = F.cross_entropy(logits, target, label_smoothing=train.label_smoothing)
        if train.consistency:
            loss = loss + train.consistency * divergence(*logits.chunk(2))
        if len(stream):
            fresh = torch.rand(len(stream), 1, device=stream.device) < self.config.stream.reset_probability
            state = torch.where(fresh, 0.0, self.stream_state)
            logits, state = self.recognizer.logits(stream, state, self.spec_augment)
            self.stream_state = state.detach()
            loss = loss + self.config.stream.weight * self._stream_loss(logits, stream_target, words)
        return loss

    def _forget(self) -> None:
        """Fresh states for the streams."""
        size = self.config.stream.rows, self.recognizer.state_size
        self.stream_state = torch.zeros(*size, device=self.fabric.device)

    def _stream_loss(self, logits: Tensor, targets: Tensor, words: Tensor) -> Tensor:
        """Of blocks, of words at their clearest moments, and of the moments nearest to a false alarm."""
        posterior, c = logits.softmax(-1), self.config
        loss = block_losses(logits, targets, self.labels).mean()
        if len(words):
            blocks = (CLIP_SAMPLES + int(c.tail_seconds * SAMPLE_RATE)) // self.recognizer.block_length
            heard = word_logits(posterior, words[:, :2], blocks, self.labels)
            loss = loss + F.cross_entropy(heard, words[:, 2], label_smoothing=c.train.label_smoothing)
        alarms = alarm_losses(posterior, targets, self.labels)
        return loss + alarms.mean() if len(alarms) else loss

    def _learn(self) -> None:
        """Put the network into training mode."""
        self.model.train()
        if self.config.train.freeze_normalisation:
            for module in self.recognizer.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.eval()

    def _train_step(self, batch: Batch) -> tuple[float, float]:
        """One update; returns the loss and the norm of the whole gradient before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.config.train)
        self._learn()
        with self.fabric.autocast():
            loss = self._loss(*batch)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm: Any = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=self.config.train.clip_gradient_norm, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.average.update_parameters(self.recognizer)
        self.step += 1
        return loss.item(), float(norm)

    def _epoch(self, epoch: int) -> dict[str, float]:
        seed = (self.config.train.seed * 100_003 + epoch) % 2**32  # a resumed run draws the same
        self.fabric.seed_everything(seed, verbose=False)
        self.data.set_epoch(epoch)
        self._forget()  # so that a resumed run does the same
        losses, norms, clips, started = [], [], 0, time.perf_counter()
        with self._progress() as bar:
            task = bar.add_task(f"epoch {epoch + 1}/{self.config.train.epochs}", total=len(self.data))
            for batch in self._batches():
                loss, norm = self._train_step(batch)
                losses.append(loss)
                norms.append(norm)
                clips += len(batch[0])
                bar.update(task, advance=1, description=f"epoch {epoch + 1}/{self.config.train.epochs} loss {loss:.3f}")
        seconds = time.perf_counter() - started
        if not all(map(math.isfinite, losses + norms)):
            raise ConfigError("training diverged (a loss or gradient is not finite): lower train.learning_rate")
        clipped = max(1.0, norms[-1] / self.config.train.clip_gradient_norm)
        layers = {
            layer: norm * clipped for layer, norm in gradient_norms(self.recognizer).items()
        }  # as before clipping
        audio, target = self.validation
        logits = evaluation_logits(cast(Recognizer, self.average.module), audio)
        recalls = recall_score(
            target.cpu(), logits.argmax(1).cpu(), labels=target.unique().tolist(), average=None, zero_division=0.0
        )
        clip_loss = F.cross_entropy(logits, target).item()
        stream_loss = self._validation_stream_loss()
        return {
            "epoch": epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "training_loss": sum(losses) / len(losses),
            "validation_loss": clip_loss + self.config.stream.weight * stream_loss,
            "validation_stream_loss": stream_loss,
            "validation_accuracy": (logits.argmax(1) == target).float().mean().item(),
            "validation_recall_min": float(min(recalls)),
            "gradient_norm": sum(norms) / len(norms),
            "gradient_norm_max": max(norms),
            "clips_per_second": clips / seconds,
            **{f"gradient_norm/{layer}": value for layer, value in layers.items()},
        }

    @torch.no_grad()
    def _validation_stream_loss(self) -> float:
        """Of sequences of sound never trained on, with the averaged weights; 0 where clips alone are trained."""
        stream, targets, words = self.validation_streams
        if not len(stream):
            return 0.0
        average = cast(Recognizer, self.average.module)
        logits, _ = average.logits(stream, stream.new_zeros(len(stream), average.state_size))
        return self._stream_loss(logits, targets, words).item()

    def _keep(self, metrics: dict[str, float]) -> None:
        """Checkpoints and metrics; everything that a killed run goes on from is in one file."""
        self.history.append(metrics)
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
        state = {"optimizer": self.optimizer.state_dict(), **current}
        checkpoint.save(self.last, {**shared, "weights": weights, **state})
        self._write_metrics()
        self.console.print(
            f"epoch {metrics['epoch']:.0f}: loss {metrics['training_loss']:.4f}, validation"
            f" {metrics['validation_accuracy']:.2%} (stream loss {metrics['validation_stream_loss']:.4f}),"
            f" gradient norm {metrics['gradient_norm']:.2f}"
            f" (max {metrics['gradient_norm_max']:.2f}), {metrics['clips_per_second']:.0f} clips/s"
        )

    def _write_metrics(self) -> None:
        beside = self.folder / "metrics.csv.part"
        with beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.history[-1].keys())
            writer.writeheader()
            writer.writerows(self.history)
        beside.replace(self.folder / "metrics.csv")

    def _draw(self) -> None:
        pictures.curves(self.history, self.folder / "curves.png")
        model, _ = checkpoint.recognizer(self.best)
        audio, target = (t.cpu() for t in self.validation)
        counts = confusion_matrix(target, predict(model, audio), labels=range(len(self.labels)))
        pictures.confusions(counts, self.labels, self.folder / "confusion.png")

    def _measure_rates(self, batches: int = 16) -> None:
        """Print clips per second of data and network, each alone and both together: which one waits for the other?"""

        def rate(source: Iterator[Batch], learn: bool) -> float:
            clips, started = 0, 0.0
            for number, batch in enumerate(itertools.islice(source, batches + ahead)):
                if learn:
                    self._loss(*batch).backward()
                clips += len(batch[0])
                if number + 1 == ahead:  # by now workers have started and prepared all that they may prepare beforehand
                    clips, started = 0, time.perf_counter()
            return clips / max(time.perf_counter() - started, 1e-9)

        ahead = min(PREFETCHED_BATCHES, len(self.data) - 1)
        batches = min(batches, len(self.data) - ahead)
        if ahead < 1:
            return
        self._learn()
        kept = {name: tensor.clone() for name, tensor in self.recognizer.state_dict().items()}
        ready = self.fabric.to_device(self.data[0])
        rates = {
            "data": rate(iter(self.data.loader()), learn=False),
            "network": rate(itertools.repeat(ready), learn=True),
            "both": rate(iter(self._batches()), learn=True),
        }
        self.recognizer.load_state_dict(kept)  # batch normalisation has looked at them
        self.optimizer.zero_grad()
        self.console.print("clips per second: " + ", ".join(f"{name} {value:.0f}" for name, value in rates.items()))
