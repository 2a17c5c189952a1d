"""The loss of a training step, as one module: sound and targets in, one number out."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError
from speechrnn.training import bc_resnet, checkpoint, corpus, from_onnx
from speechrnn.training.augment import SpecAugment, VocalTract, mix
from speechrnn.training.config import Config
from speechrnn.training.hints import Regressor
from speechrnn.training.losses import alarm_losses, block_losses, clearest, divergence, smooth, word_logits
from speechrnn.training.network import Recognizer
from speechrnn.training.processes import own_rows, shares
from speechrnn.training.sounds import CLIP_SAMPLES, Progress

TEACHERS_CLIPS = 16  # at a time: what a CPU's cache holds, which takes half the time
MIXED = -100  # in the place of a label: two clips at once, for teachers alone to judge (what cross_entropy leaves out)


class Teachers:
    """Trained recognizers, heard together. They aren't part of what is trained, so they are no module of it.

    Raises
    ------
    ModelError, ConfigError
        if a checkpoint can't be read, or is of another task
    """

    def __init__(self, paths: Sequence[str], labels: Sequence[str], device: torch.device) -> None:
        self.labels, self.device = tuple(labels), device
        theirs = [path for path in paths if not from_onnx.is_onnx(path) and bc_resnet.is_published(path)]
        self.recognizers = [self._read(path, labels).to(device) for path in paths if path not in theirs]
        self.others = [bc_resnet.load(path).to(device) for path in theirs]
        if self.others:
            bc_resnet.check(labels)
        if self.others and not self.recognizers:
            raise ConfigError("train.teachers: BC-ResNet-2 knows no silence: give a checkpoint of this task beside it")

    def __bool__(self) -> bool:
        return bool(self.recognizers)

    @staticmethod
    def _read(path: str, labels: Sequence[str]) -> Recognizer:
        recognizer = from_onnx.recognizer(path) if from_onnx.is_onnx(path) else checkpoint.recognizer(path)[0]
        if recognizer.labels != tuple(labels):
            raise ConfigError(f"train.teachers: {path} has other labels than this run: give one of the same task")
        return recognizer

    @torch.no_grad()
    def posterior(self, audio: Tensor) -> Tensor:
        """Geometric mean of their posteriors of clips [batch, samples]: [batch, labels]."""
        heard = [self._hear(teacher, audio).log_softmax(1) for teacher in self.recognizers]
        ours = torch.stack(heard).mean(0).softmax(1)
        for network in self.others:
            words = torch.cat([network(piece[:, :CLIP_SAMPLES]).softmax(1) for piece in audio.split(TEACHERS_CLIPS)])
            silence = ours[:, self.labels.index(corpus.SILENCE)]
            heard.append(bc_resnet.mapped(words, self.labels, silence).clamp(min=1e-8).log())
        return torch.stack(heard).mean(0).softmax(1)

    def of_clips(self, clips: np.ndarray, tail_seconds: float, progress: Progress) -> Tensor:
        """What they hear in clips as they were recorded, int16 [clips, CLIP_SAMPLES]: [clips, labels] on the CPU."""
        found, tail = [], int(tail_seconds * SAMPLE_RATE)
        for start in range(0, len(clips), TEACHERS_CLIPS):
            sounds = torch.from_numpy(clips[start : start + TEACHERS_CLIPS]).to(self.device).float() / 32768.0
            found.append(self.posterior(F.pad(sounds, (0, tail))).cpu())
            progress(min(len(clips), start + TEACHERS_CLIPS), len(clips))
        return torch.cat(found)

    @staticmethod
    def _hear(teacher: Recognizer, audio: Tensor) -> Tensor:
        """Logits [batch, labels]; computed in 16 bits where the teacher has learnt so."""
        pieces = audio.split(TEACHERS_CLIPS) if audio.device.type == "cpu" else [audio]
        with torch.autocast(audio.device.type, torch.bfloat16, teacher.config.train.precision == "bf16-mixed"):
            return torch.cat([clip_logits(teacher, piece) for piece in pieces])


def clip_logits(model: Recognizer, audio: Tensor, spec_augment: nn.Module | None = None) -> Tensor:
    """Log posterior [batch, labels] of clips [batch, samples], from a fresh state, as `Model.decide` takes it."""
    return decided(model, clip_states(model, audio, spec_augment))


def clip_states(model: Recognizer, audio: Tensor, spec_augment: nn.Module | None = None) -> Tensor:
    """States of the recurrent stack [batch, blocks, hidden] of clips [batch, samples], from a fresh state."""
    return model.states(audio, audio.new_zeros(len(audio), model.state_size), spec_augment)[0]


def decided(model: Recognizer, states: Tensor) -> Tensor:
    """Log posterior [batch, labels] of the clips whose `clip_states` these are."""
    return clearest(smooth(model.network.readout(states).float().softmax(-1)), model.labels)


def stream_loss(
    config: Config, model: Recognizer, logits: Tensor, targets: Tensor, words: Tensor, fabric: Fabric | None = None
) -> Tensor:
    """Of blocks, of words at their clearest moments, and of the moments nearest to a false alarm.

    Logits [rows, blocks, labels]; targets and words as in `Sequences.batch`. With `fabric`, the rows are this
    process's part of a batch, and the average of the losses of all processes is the loss of the whole.
    """
    logits = logits.float()
    posterior = logits.softmax(-1)
    blocks, alarms = block_losses(logits, targets, model.labels), alarm_losses(posterior, targets, model.labels)
    counts = len(blocks), len(words), len(alarms)
    of_blocks, of_words, of_alarms = shares(fabric, *counts) if fabric else (1.0, 1.0, 1.0)
    loss = of_blocks * blocks.mean()
    if len(words):
        length = (CLIP_SAMPLES + int(config.tail_seconds * SAMPLE_RATE)) // model.block_length
        heard = word_logits(posterior, words[:, :2], length, model.labels)
        smoothing = config.train.label_smoothing
        loss = loss + of_words * F.cross_entropy(heard, words[:, 2], label_smoothing=smoothing)
    return loss + of_alarms * alarms.mean() if len(alarms) else loss


class Objective(nn.Module):
    """Loss of clips, each from a fresh state, and of sequences, which go on where those of the last step ended."""

    stream_state: Tensor  # [rows of this process, state_size], of the sequences so far

    def __init__(self, config: Config, recognizer: Recognizer, fabric: Fabric) -> None:
        super().__init__()
        self.config, self.recognizer, self.fabric = config, recognizer, fabric
        augment = config.augment
        throats = [VocalTract(augment, config.front_end)] if augment.vocal_tract_probability else []
        self.spec_augment = nn.Sequential(*throats, SpecAugment(augment))
        self.regressor = Regressor(recognizer.network.output.in_features) if config.data.hints else None
        self.teachers = Teachers(config.train.teachers, recognizer.labels, fabric.device)
        self.forget()

    def forget(self) -> None:
        """Fresh states for the streams."""
        rows = self.config.stream.rows // self.fabric.world_size
        self.stream_state = torch.zeros(rows, self.recognizer.state_size, device=self.fabric.device)

    def forward(
        self,
        audio: Tensor,
        target: Tensor,
        moments: Tensor,
        hints: Tensor,
        stream: Tensor,
        stream_target: Tensor,
        words: Tensor,
    ) -> Tensor:
        """Of this process's part of a batch, as `TrainingData` gives it."""
        train, mixed = self.config.train, None
        if self.config.augment.mix_probability:
            audio, mixed = mix(audio, self.config.augment.mix_probability)
            target = target.masked_fill(mixed, MIXED)
        states = clip_states(self.recognizer, audio, self.spec_augment)
        logits = decided(self.recognizer, states)
        loss = self._of_labels(logits, target)
        if self.teachers and train.teachers_view == "augmented":
            of_teachers = F.cross_entropy(logits, self.teachers.posterior(audio))
            loss = (1.0 - train.teacher_weight) * loss + train.teacher_weight * of_teachers
        if self.regressor is not None:
            if mixed is not None:
                moments = moments.masked_fill(mixed[:, None], -1)
            errors = self.regressor(states, moments, hints)
            (share,) = shares(self.fabric, len(errors))
            loss = loss + train.hint_weight * share * errors.sum() / max(1, errors.numel())
        if train.consistency:
            loss = loss + train.consistency * divergence(*logits.chunk(2))
        if len(stream):
            draws = torch.rand(len(stream) * self.fabric.world_size, 1, device=stream.device)
            fresh = own_rows(self.fabric, draws) < self.config.stream.reset_probability
            state = torch.where(fresh, 0.0, self.stream_state)
            logits, state = self.recognizer.logits(stream, state, self.spec_augment)
            self.stream_state = state.detach()
            of_stream = stream_loss(self.config, self.recognizer, logits, stream_target, words, self.fabric)
            loss = loss + self.config.stream.weight * of_stream
        return loss

    def _of_labels(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the clips that have a label [batch], or of targets [batch, labels]."""
        smoothing = self.config.train.label_smoothing
        labelled = int((target != MIXED).sum()) if target.ndim == 1 else len(target)
        (share,) = shares(self.fabric, labelled)
        total = F.cross_entropy(logits, target, ignore_index=MIXED, label_smoothing=smoothing, reduction="sum")
        return share * total / max(1, labelled)
