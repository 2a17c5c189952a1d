"""The training objective: supervised loss, distillation from teachers, feature distillation, R-Drop, streams."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from speechrnn.errors import ConfigError
from speechrnn.evaluation import corpus
from speechrnn.training import bc_resnet, checkpoint, from_onnx
from speechrnn.training.audio_pool import CLIP_SAMPLES, Progress
from speechrnn.training.augment import VTLP, SpecAugment, mix
from speechrnn.training.config import Config
from speechrnn.training.feature_distillation import Regressor
from speechrnn.training.losses import block_losses, false_accept_losses, max_pool, smooth, symmetric_kl, word_logits
from speechrnn.training.network import Recognizer
from speechrnn.training.processes import mean_weights, own_rows

TEACHERS_CLIPS = 16  # at a time: what a CPU's cache holds, which takes half the time
MIXED = -100  # label of a mixture, whose target is the teachers' alone: cross_entropy ignores it


class Teachers:
    """An ensemble of teachers for distillation (Hinton et al. 2015, arXiv:1503.02531). No submodule: it isn't trained.

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
        """Normalised geometric mean of the posteriors of clips [batch, samples]: [batch, labels]."""
        found = [self._logits(teacher, audio).log_softmax(1) for teacher in self.recognizers]
        ours = torch.stack(found).mean(0).softmax(1)
        for network in self.others:
            words = torch.cat([network(piece[:, :CLIP_SAMPLES]).softmax(1) for piece in audio.split(TEACHERS_CLIPS)])
            silence = ours[:, self.labels.index(corpus.SILENCE)]
            found.append(bc_resnet.map_labels(words, self.labels, silence).clamp(min=1e-8).log())
        return torch.stack(found).mean(0).softmax(1)

    def of_clips(self, clips: np.ndarray, tail: int, progress: Progress) -> Tensor:
        """`posterior` of clips without augmentation, int16 [clips, CLIP_SAMPLES]: [clips, labels] on the CPU.

        Each clip is followed by `tail` samples of digital silence.
        """
        found = []
        for start in range(0, len(clips), TEACHERS_CLIPS):
            sounds = torch.from_numpy(clips[start : start + TEACHERS_CLIPS]).to(self.device).float() / 32768.0
            found.append(self.posterior(F.pad(sounds, (0, tail))).cpu())
            progress(min(len(clips), start + TEACHERS_CLIPS), len(clips))
        return torch.cat(found)

    @staticmethod
    def _logits(teacher: Recognizer, audio: Tensor) -> Tensor:
        """Logits [batch, labels]; computed in 16 bits where the teacher was trained so."""
        pieces = audio.split(TEACHERS_CLIPS) if audio.device.type == "cpu" else [audio]
        with torch.autocast(audio.device.type, torch.bfloat16, teacher.config.train.precision == "bf16-mixed"):
            return torch.cat([clip_logits(teacher, piece) for piece in pieces])


def clip_logits(model: Recognizer, audio: Tensor, spec_augment: nn.Module | None = None) -> Tensor:
    """Log posterior [batch, labels] of clips [batch, samples], from a fresh state, as `Model.decide` takes it."""
    return pooled(model, clip_states(model, audio, spec_augment))


def clip_states(model: Recognizer, audio: Tensor, spec_augment: nn.Module | None = None) -> Tensor:
    """States of the recurrent stack [batch, blocks, hidden] of clips [batch, samples], from a fresh state."""
    return model.states(audio, audio.new_zeros(len(audio), model.state_size), spec_augment)[0]


def pooled(model: Recognizer, states: Tensor) -> Tensor:
    """Log posterior [batch, labels] of clips, given their `clip_states`."""
    return max_pool(smooth(model.network.readout(states).float().softmax(-1)), model.labels)


def stream_loss(
    config: Config, model: Recognizer, logits: Tensor, targets: Tensor, words: Tensor, fabric: Fabric | None = None
) -> Tensor:
    """Loss of sequences: of all blocks, of words (max-pooled), and of the blocks nearest to a false accept.

    Logits [rows, blocks, labels]; targets and words as in `Sequences.batch`. With `fabric`, the rows are this
    process's part of a batch, and the mean over processes is the loss of the whole batch.
    """
    logits = logits.float()
    posterior = logits.softmax(-1)
    blocks = block_losses(logits, targets, model.labels)
    false_accepts = false_accept_losses(posterior, targets, model.labels)
    counts = len(blocks), len(words), len(false_accepts)
    of_blocks, of_words, of_false_accepts = mean_weights(fabric, *counts) if fabric else (1.0, 1.0, 1.0)
    loss = of_blocks * blocks.mean()
    if len(words):
        length = (CLIP_SAMPLES + config.tail_samples) // model.block_length
        logits_of_words = word_logits(posterior, words[:, :2], length, model.labels)
        smoothing = config.train.label_smoothing
        loss = loss + of_words * F.cross_entropy(logits_of_words, words[:, 2], label_smoothing=smoothing)
    return loss + of_false_accepts * false_accepts.mean() if len(false_accepts) else loss


class Objective(nn.Module):
    """Loss of clips, each from a fresh state, and of sequences, from the state of the step before."""

    stream_state: Tensor  # [rows of this process, state_size], of the sequences so far

    def __init__(self, config: Config, recognizer: Recognizer, fabric: Fabric) -> None:
        super().__init__()
        self.config, self.recognizer, self.fabric = config, recognizer, fabric
        augment = config.augment
        vtlp = [VTLP(augment, config.front_end)] if augment.vocal_tract_probability else []
        self.spec_augment = nn.Sequential(*vtlp, SpecAugment(augment))
        self.regressor = Regressor(recognizer.network.output.in_features) if config.data.hints else None
        self.teachers = Teachers(config.train.teachers, recognizer.labels, fabric.device)
        self.reset_streams()

    def reset_streams(self) -> None:
        """Set the states of the streams to zero."""
        rows = self.config.stream.rows // self.fabric.world_size
        self.stream_state = torch.zeros(rows, self.recognizer.state_size, device=self.fabric.device)

    def forward(
        self,
        audio: Tensor,
        target: Tensor,
        moments: Tensor,
        embeddings: Tensor,
        stream: Tensor,
        stream_target: Tensor,
        words: Tensor,
    ) -> Tensor:
        """Loss of this process's part of a `Batch`."""
        train, mixed = self.config.train, None
        if self.config.augment.mix_probability:
            audio, mixed = mix(audio, self.config.augment.mix_probability)
            target = target.masked_fill(mixed, MIXED)
        states = clip_states(self.recognizer, audio, self.spec_augment)
        logits = pooled(self.recognizer, states)
        loss = self._of_labels(logits, target)
        if self.teachers and train.teachers_view == "augmented":
            of_teachers = F.cross_entropy(logits, self.teachers.posterior(audio))
            loss = (1.0 - train.teacher_weight) * loss + train.teacher_weight * of_teachers
        if self.regressor is not None:
            if mixed is not None:
                moments = moments.masked_fill(mixed[:, None], -1)
            errors = self.regressor(states, moments, embeddings)
            (weight,) = mean_weights(self.fabric, len(errors))
            loss = loss + train.hint_weight * weight * errors.sum() / max(1, errors.numel())
        if train.consistency:
            loss = loss + train.consistency * symmetric_kl(*logits.chunk(2))
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
        (weight,) = mean_weights(self.fabric, labelled)
        total = F.cross_entropy(logits, target, ignore_index=MIXED, label_smoothing=smoothing, reduction="sum")
        return weight * total / max(1, labelled)
