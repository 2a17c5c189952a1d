"""A training run from end to end: it learns, repeats itself, survives being killed, and leaves files that are safe."""

import csv
import io
import json
import math
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechrnn.card import SMOOTHING_BLOCKS
from speechrnn.decision import clearest
from speechrnn.errors import ConfigError, ModelError
from speechrnn.export import to_onnx
from speechrnn.training import checkpoint, config, data
from speechrnn.training.audio_pool import AudioPool
from speechrnn.training.config import Config, TrainConfig
from speechrnn.training.data import NO_SEQUENCES
from speechrnn.training.feature_distillation import EMBEDDING_SIZE, NO_EMBEDDINGS, digests
from speechrnn.training.network import Recognizer
from speechrnn.training.objective import clip_logits
from speechrnn.training.train import (
    gradient_norms,
    learning_rate,
    predict,
)
from tests.support.training import config_file, data_folder, start  # noqa: F401  # fixtures among them

ROOT = Path(__file__).parents[1]
DIVERGING = ["train.learning_rate=100.0", "train.weight_decay=1000.0", "train.warmup_share=0.0"]
LABELS = ["high", "low", "_unknown_", "_silence_"]
VALIDATION_SEQUENCES = 8


pytestmark = pytest.mark.usefixtures("one_thread")


def keep_unfinished(run):
    """Copy the run folder, as it is before the last epoch, to `unfinished` beside it."""
    save = run._save

    def save_and_copy(metrics):
        save(metrics)
        if metrics["epoch"] == run.config.train.epochs - 1:
            shutil.copytree(run.folder, run.folder.with_name("unfinished"))

    run._save = save_and_copy
    return run


def unfinished(folder, copy):
    """A copy of the run in `folder` as it was before its last epoch."""
    return shutil.copytree(folder.with_name("unfinished"), copy)


@pytest.fixture(scope="module", autouse=True)
def few_validation_sequences():
    """They are drawn and evaluated in every run: 128 are many for a loss that is only compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "VALIDATION_SEQUENCES", VALIDATION_SEQUENCES)
        yield


@pytest.fixture(scope="module")
def finished(config_file, tmp_path_factory):
    """The run that the tests look at, its result and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "tones"
    run = keep_unfinished(start(config_file, folder))
    best = run.fit()
    return folder, best, run.console.file.getvalue()


def fit(run, *, draws=False):
    """Train without measuring the speed beforehand and without pictures: two thirds of a run as short as these."""
    run._measure_rates = lambda: None
    if not draws:
        run._draw = lambda *_: None
    return run.fit()


def metrics(folder):
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def without_speed(rows):
    """Metrics that depend on the seed alone."""
    return [{key: value for key, value in row.items() if key != "clips_per_second"} for row in rows]


def same_run(first, second):
    """Bit for bit: weights, their average and the optimizer's memory after the last epoch, the best, the metrics."""
    a, b = checkpoint.read(first / "last.pt"), checkpoint.read(second / "last.pt")
    assert a["step"] == b["step"]
    for part in ("current", "average", "weights"):
        assert a[part].keys() == b[part].keys()
        assert [name for name in a[part] if not torch.equal(a[part][name], b[part][name])] == []
    for key, memory in a["optimizer"]["state"].items():
        assert torch.equal(memory["exp_avg_sq"], b["optimizer"]["state"][key]["exp_avg_sq"])
    assert without_speed(metrics(first)) == without_speed(metrics(second))
    best_a, best_b = checkpoint.read(first / "best.pt"), checkpoint.read(second / "best.pt")
    assert best_a["step"] == best_b["step"]
    assert all(torch.equal(best_a["weights"][name], best_b["weights"][name]) for name in best_a["weights"])
    return True


def png_size(path):
    """Width and height, from the header; matplotlib decodes all of it."""
    from matplotlib import image

    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    pixels = image.imread(path)
    assert pixels.shape[:2] == (height, width)
    assert pixels[..., :3].std() > 0.01  # something is drawn
    return width, height


def test_a_run_learns(finished):
    folder, best, _ = finished
    # 24 of the 30 validation clips are the two words: whoever says one label always has 40 %.
    assert best["validation_accuracy"] > 0.7
    first, last = metrics(folder)
    assert last["training_loss"] < first["training_loss"] < math.log(4) + 0.5


def test_a_run_says_how_fast_data_and_network_are(finished):
    line = next(line for line in finished[2].splitlines() if line.startswith("clips per second"))
    assert all(name in line for name in ("data", "network", "both"))


def test_the_resolved_settings_are_kept(finished, config_file):
    assert config.load(finished[0] / "config.toml") == config.load(config_file)


def test_metrics_hold_every_epoch_and_the_gradient_norm_of_each_layer(finished):
    folder, best, _ = finished
    rows = metrics(folder)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert best["validation_accuracy"] == max(row["validation_accuracy"] for row in rows)
    model, _ = checkpoint.recognizer(folder / "last.pt")
    trained = {name.removeprefix("network.") for name, _ in model.named_parameters()}
    # Each parameter belongs to a layer with a norm of its own: a module, or in the recurrent stack a weight.
    layers = {key.partition("/")[2].removeprefix("network.") for key in rows[0] if key.startswith("gradient_norm/")}
    assert {name if name in layers else name.rpartition(".")[0] for name in trained} == layers
    assert len(layers) > 8
    assert all(row[key] > 0 for row in rows for key in row if key.startswith("gradient_norm/") and "weight_hh" in key)


def events(folder):
    """Scalars on the TensorBoard: name -> {epoch: value}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {tag: {event.step: event.value for event in board.Scalars(tag)} for tag in board.Tags()["scalars"]}


def test_tensorboard_shows_what_the_metrics_say(finished):
    rows, board = metrics(finished[0]), events(finished[0])
    assert board.keys() == rows[0].keys()
    for tag, scalars in board.items():
        assert scalars == pytest.approx({epoch: row[tag] for epoch, row in enumerate(rows)}, rel=1e-5)


def test_curves_and_confusions_are_drawn(finished):
    assert min(png_size(finished[0] / "curves.png")) >= 500
    width, height = png_size(finished[0] / "confusion.png")
    assert min(width, height) >= 300


def test_the_best_checkpoint_is_that_of_its_accuracy(finished, data_folder):
    """Read back and used from scratch, it scores what the metrics say."""
    from speechrnn.evaluation.corpus import evaluation_clips
    from speechrnn.training.data import evaluation_tensors

    folder, best, _ = finished
    model, content = checkpoint.recognizer(folder / "best.pt")
    assert content["labels"] == LABELS
    audio, target = evaluation_tensors(evaluation_clips(data_folder, LABELS, "validation"), LABELS, 640)
    accuracy = float((predict(model, audio) == target).float().mean())
    assert accuracy == pytest.approx(best["validation_accuracy"])


def test_the_same_seed_gives_the_same_run_with_workers_too(finished, config_file, tmp_path):
    fit(start(config_file, tmp_path / "again", "train.workers=1"))
    assert same_run(tmp_path / "again", finished[0])


def test_measuring_the_speed_beforehand_changes_nothing(finished, config_file, tmp_path):
    run = start(config_file, tmp_path / "unmeasured")
    fit(run)
    assert same_run(tmp_path / "unmeasured", finished[0])


@pytest.mark.slow
def test_another_seed_gives_another_run(finished, config_file, tmp_path):
    fit(start(config_file, tmp_path / "other", "train.seed=4000000000", "train.epochs=1"))
    assert metrics(tmp_path / "other")[0]["training_loss"] != metrics(finished[0])[0]["training_loss"]


KILLED_IN_THE_LAST_EPOCH = f"""
import os, signal, sys
from pathlib import Path
from rich.console import Console
from speechrnn.training import config, data, train

data.VALIDATION_SEQUENCES = {VALIDATION_SEQUENCES}

step = train.Run._train_step

def killed(self, batch):
    if self.step == self.steps - len(self.data) // 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)

train.Run._train_step = killed
train.Run._measure_rates = lambda self: None
train.Run(config.load(sys.argv[1]), Path(sys.argv[2]), "--resume" in sys.argv, Console(quiet=True)).fit()
"""


def killed(settings, folder, *options):
    """Train in another process until it is killed in the middle of the last epoch."""
    run = subprocess.run(
        [sys.executable, "-c", KILLED_IN_THE_LAST_EPOCH, str(settings), str(folder), *options],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    # Those before are kept, half of the last is lost.
    assert [row["epoch"] for row in metrics(folder)] == list(range(1, config.load(settings).train.epochs))


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_run_goes_on_as_if_nothing_had_been(finished, config_file, tmp_path):
    folder = tmp_path / "killed"
    killed(config_file, folder)
    time.sleep(1.0)  # TensorBoard reads event files in the order of their names, which begin with the second
    resumed = start(config_file, folder, resume=True)
    trained = []
    epoch = resumed._epoch
    resumed._epoch = lambda number: trained.append(number) or epoch(number)
    fit(resumed)
    assert trained == [1]
    assert resumed.data.epoch == 1  # with the clips in the order of the second epoch
    assert same_run(folder, finished[0])
    board = events(folder)
    assert board.keys() == metrics(folder)[0].keys()
    assert all(scalars.keys() == {0, 1} for scalars in board.values())


class Killed(BaseException):
    """What stands for SIGKILL at a moment that can't be met from outside."""


@pytest.mark.parametrize("moment", ["while writing last.pt", "before metrics.csv", "before the pictures"])
def test_a_run_killed_between_its_files_goes_on(finished, config_file, tmp_path, monkeypatch, moment):
    folder = unfinished(finished[0], tmp_path / "run")
    run = start(config_file, folder, resume=True)

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "while writing last.pt":
            save = checkpoint.save

            def half(path, content):
                if path.name == "last.pt" and content["history"][-1]["epoch"] == 2:
                    path.with_name("last.pt.speechrnn-0a1b2c3d.part").write_bytes(b"PK\x03\x04 half of a checkpoint")
                    raise Killed
                save(path, content)

            patch.setattr(checkpoint, "save", half)
        elif moment == "before metrics.csv":
            write = run.kept.write_metrics
            patch.setattr(run.kept, "write_metrics", lambda history: die() if len(history) == 2 else write(history))
        else:
            patch.setattr(run, "_draw", die)
        with pytest.raises(Killed):
            fit(run, draws=True)
    fit(start(config_file, folder, resume=True), draws=True)
    assert same_run(folder, finished[0])
    assert png_size(folder / "confusion.png") == png_size(finished[0] / "confusion.png")


def test_a_finished_run_is_not_overwritten(finished, config_file):
    before = (finished[0] / "last.pt").read_bytes()
    with pytest.raises(ConfigError, match="--resume") as caught:
        start(config_file, finished[0])
    assert str(finished[0]) in str(caught.value)
    assert (finished[0] / "last.pt").read_bytes() == before


def test_nothing_to_resume_is_said(config_file, tmp_path):
    with pytest.raises(ConfigError, match="nothing to resume") as caught:
        start(config_file, tmp_path / "new", resume=True)
    assert str(tmp_path / "new") in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("change", ["network.hidden_size=12", "front_end.f_max=7000", "data.task=low,high"])
def test_a_run_is_not_resumed_with_another_network_or_task(finished, config_file, change):
    with pytest.raises(ConfigError, match=r"last\.pt"):
        start(config_file, finished[0], change, resume=True)


def test_consistency_without_twins_is_refused(config_file, tmp_path):
    with pytest.raises(ConfigError, match=r"augment\.twins"):
        start(config_file, tmp_path / "run", "train.consistency=1.0")


@pytest.mark.slow
def test_a_run_with_twins_learns_too(config_file, tmp_path):
    run = start(config_file, tmp_path / "run", "augment.twins=true", "train.consistency=1.0")
    assert fit(run)["validation_accuracy"] > 0.6


def test_a_run_learns_from_teachers_of_other_kinds(finished, config_file, tmp_path):
    teacher = start(config_file, tmp_path / "teacher", "network.cell=none", "front_end.n_mels=32", "stream.rows=0")
    fit(teacher)
    teachers = [(path / "best.pt").as_posix() for path in (finished[0], tmp_path / "teacher")]
    changes = f"train.teachers={json.dumps(teachers)}", "train.teacher_weight=0.5", "augment.mix_probability=0.3"
    run = start(config_file, tmp_path / "run", *changes)
    assert fit(run)["validation_accuracy"] > 0.6


def test_a_teacher_that_is_not_there_is_one_line(config_file, tmp_path):
    with pytest.raises(ModelError, match=r"missing\.pt"):
        start(config_file, tmp_path / "run", 'train.teachers=["missing.pt"]')


def test_a_second_stage_starts_from_the_weights_of_the_first(finished, config_file, tmp_path):
    best = finished[0] / "best.pt"
    run = start(config_file, tmp_path / "second", f"train.start_from={best}")
    expected = checkpoint.read(best)["weights"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in run.recognizer.state_dict().items())
    assert run.history == []


def test_a_second_stage_starts_from_the_exported_file_of_the_first(finished, config_file, tmp_path):
    to_onnx.export(finished[0] / "best.pt", tmp_path / "first.onnx")
    still = ["train.learning_rate=1e-9", "train.epochs=1", "train.freeze_normalisation=true"]
    run = start(config_file, tmp_path / "second", f"train.start_from={tmp_path / 'first.onnx'}", *still)
    assert run.fit()["validation_accuracy"] == finished[1]["validation_accuracy"]


@pytest.mark.parametrize("change", ["network.hidden_size=12", "data.task=low,high"])
def test_a_second_stage_of_another_network_is_refused(finished, config_file, tmp_path, change):
    with pytest.raises(ConfigError, match=r"best\.pt"):
        start(config_file, tmp_path / "second", f"train.start_from={finished[0] / 'best.pt'}", change)


def test_a_batch_larger_than_the_data_is_refused(config_file, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.batch_size"):
        start(config_file, tmp_path / "run", "train.batch_size=1000").fit()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_that_diverges_says_so_and_keeps_no_broken_weights(config_file, tmp_path):
    run = start(config_file, tmp_path / "run", *DIVERGING)
    with pytest.raises(ConfigError, match=r"train\.learning_rate"):
        fit(run)
    assert not (tmp_path / "run" / "last.pt").exists()


def one_step(run, scale=1.0):
    """One update on noise; the norm of the whole gradient before clipping, and those of the layers after it."""
    run.steps = 10
    audio = 0.1 * torch.randn(8, 3200, generator=torch.Generator().manual_seed(0))
    run.recognizer.network.output.weight.data.mul_(scale)
    _, norm = run._train_step((audio, torch.arange(8) % 4, *NO_EMBEDDINGS, *NO_SEQUENCES))
    return norm, gradient_norms(run.recognizer)


def test_gradients_are_clipped_to_the_limit(config_file, tmp_path):
    norm, layers = one_step(start(config_file, tmp_path / "run", "train.clip_gradient_norm=0.01"), scale=10.0)
    assert norm > 0.1
    assert math.sqrt(sum(value**2 for value in layers.values())) == pytest.approx(0.01, rel=1e-3)


def test_gradients_below_the_limit_are_left_alone(config_file, tmp_path):
    norm, layers = one_step(start(config_file, tmp_path / "run", "train.clip_gradient_norm=1e6"))
    assert math.sqrt(sum(value**2 for value in layers.values())) == pytest.approx(norm, rel=1e-4)


def test_the_learning_rate_rises_in_a_line_and_falls_as_half_a_cosine():
    train = TrainConfig(learning_rate=0.5, warmup_share=0.2)
    rates = np.array([learning_rate(step, 100, train) for step in range(100)])
    np.testing.assert_allclose(rates[:20], 0.5 * np.arange(1, 21) / 20)
    assert rates.max() == pytest.approx(0.5)
    assert (np.diff(rates[20:]) < 0).all()
    assert rates[60] == pytest.approx(0.25)  # half way down
    assert 0 < rates[99] < 0.001
    assert learning_rate(100, 100, train) == pytest.approx(0.0)


@pytest.mark.parametrize(("steps", "share"), [(1, 0.1), (1, 1.0), (2, 0.0), (7, 1.0)])
def test_the_learning_rate_of_any_short_run_is_positive(steps, share):
    train = TrainConfig(learning_rate=0.5, warmup_share=share)
    assert all(0 < learning_rate(step, steps, train) <= 0.5 for step in range(steps))


def test_a_clip_in_training_is_decided_as_the_runtime_decides_it():
    """The posterior that the loss is taken of is that of the clearest moment."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recognizer(Config(), LABELS).eval()
    model.network.output.weight.data.mul_(30.0)  # so that moments differ
    audio = 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        probabilities, _ = model(audio, torch.zeros(3, model.state_size))
        logits = clip_logits(model, audio)
    for row, posteriors in zip(logits, probabilities.numpy(), strict=True):
        expected = clearest(posteriors, LABELS, SMOOTHING_BLOCKS)
        np.testing.assert_allclose(row.exp().numpy(), expected, atol=1e-5)
        assert posteriors.std(axis=0).max() > 1e-3


def test_a_clip_learns_from_one_moment_alone():
    model = Recognizer(Config(), LABELS).eval()
    learnt = []

    def rows_of(states):
        rows = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
        learnt.append(rows)
        return rows

    model.network.readout = rows_of
    clip_logits(model, torch.zeros(2, 40 * 320)).sum().backward()
    blocks = (learnt[0].grad.abs().sum(-1) > 0).int()
    assert blocks.sum(1).tolist() == [SMOOTHING_BLOCKS] * 2
    assert (blocks.diff(dim=1) == 1).sum() <= 2  # side by side


# streams


STREAMS = ("stream.rows=2", "stream.seconds=3", "train.epochs=4")


@pytest.fixture(scope="module")
def streamed(config_file, tmp_path_factory):
    """A run on clips and sequences."""
    folder = tmp_path_factory.mktemp("runs") / "streams"
    fit(keep_unfinished(start(config_file, folder, *STREAMS)))
    return folder


def test_a_run_with_streams_learns_both(streamed):
    first, *_, last = metrics(streamed)
    assert last["training_loss"] < first["training_loss"]
    assert 0 < last["validation_stream_loss"] < float("inf")
    assert last["validation_accuracy"] > 0.5


def test_with_streams_the_last_epoch_counts(streamed):
    content = checkpoint.read(streamed / "best.pt")
    assert [row["epoch"] for row in content["history"]] == [row["epoch"] for row in metrics(streamed)] == [1, 2, 3, 4]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_run_with_streams_goes_on_as_if_nothing_had_been(streamed, config_file, tmp_path):
    folder, settings = tmp_path / "killed", tmp_path / "streams.toml"
    settings.write_text(config.load(config_file, STREAMS).to_toml(), encoding="utf-8")
    killed(settings, unfinished(streamed, folder), "--resume")
    fit(start(config_file, folder, *STREAMS, resume=True))
    assert same_run(folder, streamed)


def sequence_step(run, state, fill):
    """The loss of a step on silent clips and noise in sequences, heard from this state."""
    run.steps = 10
    run.objective.stream_state = state
    clips = torch.zeros(8, 16_000)
    noise = 0.1 * torch.randn(2, 150 * 320, generator=torch.Generator().manual_seed(0))
    targets = torch.full((2, 150), fill)
    torch.manual_seed(0)  # dropout
    words = torch.tensor([[0, 10, 1], [1, 60, 0]])
    return run.objective(clips, torch.full((8,), 3), *NO_EMBEDDINGS, noise, targets, words).detach()


def test_the_state_of_a_stream_is_carried_from_step_to_step(config_file, tmp_path):
    run = start(config_file, tmp_path / "run", *STREAMS, "stream.reset_probability=0.0")
    run._training_mode()
    fresh = torch.zeros_like(run.objective.stream_state)
    first = sequence_step(run, fresh, 1)
    heard = run.objective.stream_state
    assert heard.shape == (2, run.recognizer.state_size)
    assert heard.any()
    assert not heard.requires_grad  # a step learns from its own sound
    assert float(sequence_step(run, fresh, 1)) == pytest.approx(float(first))
    assert float(sequence_step(run, heard, 1)) != pytest.approx(float(first))
    always = start(config_file, tmp_path / "other", *STREAMS, "stream.reset_probability=1.0")
    always._training_mode()
    assert float(sequence_step(always, heard, 1)) == pytest.approx(float(sequence_step(always, fresh, 1)))


def test_the_stream_counts_by_its_weight(config_file, tmp_path):
    losses = []
    for weight in (0.0, 1.0, 3.0):
        run = start(config_file, tmp_path / str(weight), *STREAMS, f"stream.weight={weight}")
        run._training_mode()
        losses.append(float(sequence_step(run, torch.zeros_like(run.objective.stream_state), 1)))
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-4)
    assert losses[1] > losses[0]


def test_frozen_normalisation_keeps_its_statistics(config_file, tmp_path):
    for frozen in (True, False):
        run = start(config_file, tmp_path / str(frozen), f"train.freeze_normalisation={str(frozen).lower()}")
        before = {name: tensor.clone() for name, tensor in run.recognizer.named_buffers() if "running" in name}
        weights = run.recognizer.network.output.weight.detach().clone()
        one_step(run)
        kept = [torch.equal(tensor, dict(run.recognizer.named_buffers())[name]) for name, tensor in before.items()]
        assert kept == [frozen] * len(before)
        assert len(before) > 4
        assert not torch.equal(run.recognizer.network.output.weight, weights)  # the rest learns
        assert run.recognizer.network.dropout.training


class Code:
    """What a hostile checkpoint would hold."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, write):
    path, harm = tmp_path / "hostile.pt", tmp_path / "harm"
    content = {"weights": {}, "config": {}, "labels": [], "more": Code(harm)}
    if write == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ModelError, match=r"hostile\.pt"):
        checkpoint.read(path)
    assert not harm.exists()


@pytest.fixture(scope="module")
def good_checkpoint():
    model = Recognizer(replace(Config(), network=replace(Config().network, hidden_size=8)), LABELS)
    file = io.BytesIO()
    content = {"weights": model.state_dict(), "config": model.config.to_dict(), "labels": LABELS}
    torch.save(content, file)
    return content, file.getvalue()


def refused(path):
    with pytest.raises(ModelError) as caught:
        checkpoint.recognizer(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("broken", ["missing", "folder", "empty", "text", "noise", "half", "bare weights", "a list"])
def test_what_is_no_checkpoint_is_named(tmp_path, good_checkpoint, broken):
    path = tmp_path / "model.pt"
    content, whole = good_checkpoint
    match broken:
        case "folder":
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("this is no checkpoint")
        case "noise":
            path.write_bytes(np.random.default_rng(0).bytes(5000))
        case "half":
            path.write_bytes(whole[: len(whole) // 2])
        case "bare weights":
            torch.save(content["weights"], path)
        case "a list":
            torch.save([1, 2, 3], path)
    refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["one", "too", "many", "labels", "here"]},
        {"labels": None},
        {"config": {"network": {"cells": 3}}},
        {"config": None},
        {"weights": {}},
        {"weights": [1, 2]},
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_named(tmp_path, good_checkpoint, change):
    torch.save({**good_checkpoint[0], **change}, tmp_path / "model.pt")
    refused(tmp_path / "model.pt")


def test_damaged_bytes_are_refused_whatever_they_break(tmp_path, good_checkpoint):
    """The pickle in the archive, damaged at random: a checkpoint comes out or a `ModelError`, never anything else."""
    whole = good_checkpoint[1]
    begin = whole.index(b"\x80\x02}")
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for place in begin + rng.integers(0, 2000, 3):
            damaged[place] = rng.integers(256)
        path = tmp_path / "model.pt"
        path.write_bytes(damaged)
        try:
            checkpoint.recognizer(path)
        except ModelError:
            refusals += 1
    assert refusals > 50


# several processes


# Without what each process draws for itself: dropout, masks, the statistics of batch normalisation.
AS_ONE = (
    "network.dropout=0",
    "augment.frequency_masks=0",
    "augment.time_masks=0",
    "train.freeze_normalisation=true",
    "stream.rows=4",
    "stream.seconds=3",
    "stream.reset_probability=0.3",
    "train.batch_size=24",
)
# What the installed command `speechrnn` is.
SCRIPT = "import sys\nfrom speechrnn.__main__ import main\nsys.exit(main())\n"


def command(start, config_file, folder, *overrides, resume=False):
    """`speechrnn train` in two processes."""
    if start == "script":
        file = folder.parent / "speechrnn"
        file.write_text(SCRIPT)
        program, options = [sys.executable, file], ["--devices", "2"]
    elif start == "torchrun":
        torchrun = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
        program, options = [sys.executable, "-m", *torchrun, "speechrnn"], ["--strategy", "ddp"]
    else:
        program, options = [sys.executable, "-m", "speechrnn"], ["--devices", "2", "--strategy", "ddp"]
    settings = [part for override in overrides for part in ("--set", override)]
    return subprocess.run(
        [*program, "train", config_file, "--run-folder", folder, *settings, *options, *["--resume"] * resume],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def as_one(data_folder):
    """Settings of a run that learns the same on any number of processes, from hints too."""
    clips = AudioPool(config.DataConfig(folder=str(data_folder), task="high,low"), LABELS, "training").clips
    hints = np.random.default_rng(0).standard_normal((len(clips), 3, EMBEDDING_SIZE)).astype(np.float16)
    path = data_folder.parent / "hints.npz"
    np.savez(path, digests=list(digests(clips)), embeddings=hints, seconds=[0.4, 0.6, 0.8])
    return (*AS_ONE, f"data.hints={path.as_posix()}")


@pytest.fixture(scope="module")
def alone(config_file, as_one, tmp_path_factory):
    """Run folders of one process after two epochs, and after a third one in another run."""
    two, three = (tmp_path_factory.mktemp("runs") / name for name in ("two", "three"))
    fit(start(config_file, two, *as_one, "train.epochs=2"))
    shutil.copytree(two, three)
    fit(start(config_file, three, *as_one, "train.epochs=3", resume=True))
    return two, three


def same_within_rounding(first, second):
    curves = [[row["training_loss"] for row in metrics(folder)] for folder in (first, second)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    a, b = checkpoint.read(first / "last.pt"), checkpoint.read(second / "last.pt")
    assert a["step"] == b["step"]
    for part in ("current", "weights", "regressor"):
        assert a[part].keys() == b[part].keys()
        for name in a[part]:
            torch.testing.assert_close(a[part][name], b[part][name], rtol=0.0, atol=1e-3)
    assert list(metrics(first)[0]) == list(metrics(second)[0])
    return True


@pytest.mark.parametrize("how", ["module", "torchrun"])
def test_two_processes_learn_what_one_learns(alone, as_one, config_file, tmp_path, how):
    folder = tmp_path / "run"
    run = command(how, config_file, folder, *as_one, "train.epochs=2")
    assert run.returncode == 0, run.stderr
    assert same_within_rounding(folder, alone[0])
    assert run.stdout.count("best: ") == run.stdout.count("export it: ") == 1
    assert min(png_size(folder / "confusion.png")) >= 300
    assert events(folder)["training_loss"].keys() == {0, 1}
    if how == "module":  # and one goes on with what two have begun
        fit(start(config_file, folder, *as_one, "train.epochs=3", resume=True))
        assert same_within_rounding(folder, alone[1])


def test_two_processes_go_on_with_what_one_has_begun(alone, as_one, config_file, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(alone[0], folder)
    run = command("script", config_file, folder, *as_one, "train.epochs=3", resume=True)
    assert run.returncode == 0, run.stderr
    assert same_within_rounding(folder, alone[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (DIVERGING, "train.learning_rate"),  # when all have learnt
        (["data.folder=missing"], "missing"),  # when all read
    ],
)
def test_what_is_wrong_ends_both_processes_with_one_line(config_file, tmp_path, overrides, named):
    run = command("module", config_file, tmp_path / "run", *overrides)  # it waits for both to close their stderr
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr
    assert named in run.stderr
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["train.batch_size=9"], r"train\.batch_size: 9 .* 2 processes: make it a multiple of 2"),
        (["augment.twins=true", "train.batch_size=6"], r"train\.batch_size: 6 .* multiple of 4"),
        (["stream.rows=3"], r"stream\.rows: 3 .* multiple of 2"),
        (["train.accelerator=cuda"], r"train\.accelerator = cuda"),
    ],
)
def test_what_two_processes_cannot_share_is_said_before_they_start(config_file, tmp_path, overrides, named):
    if "train.accelerator=cuda" in overrides and torch.cuda.device_count() > 1:
        pytest.skip("there are two GPUs")
    with pytest.raises(ConfigError, match=named):
        start(config_file, tmp_path / "run", "train.devices=2", *overrides)
    assert not (tmp_path / "run").exists()


# mixed precision


def test_mixed_precision_hears_the_sound_as_it_is(config_file, tmp_path):
    """The network computes in 16 bits, the front end doesn't: frames and the tail of the state are those of 32 bits."""
    run = start(config_file, tmp_path / "run", *STREAMS, "train.precision=bf16-mixed")
    heard, widths = [], []
    run.recognizer.network.input_norm.register_forward_pre_hook(lambda _, given: heard.append(given[0].mT))
    run.recognizer.network.features.register_forward_hook(lambda _, __, out: widths.append(out.dtype))
    audio = 0.1 * torch.randn(8, 3200, generator=torch.Generator().manual_seed(0))
    stream = 0.1 * torch.randn(2, 150 * 320, generator=torch.Generator().manual_seed(1))
    run.steps = 10
    words = torch.tensor([[0, 10, 1]])
    loss, norm = run._train_step((audio, torch.arange(8) % 4, *NO_EMBEDDINGS, stream, torch.full((2, 150), 1), words))
    assert 0 < loss < float("inf")
    assert 0 < norm < float("inf")
    assert widths == [torch.bfloat16] * 2
    front_end = run.recognizer.front_end
    expected, tail = front_end(stream, torch.zeros(2, front_end.tail_length))
    assert torch.equal(heard[1], expected)
    assert torch.equal(run.objective.stream_state[:, : front_end.tail_length], tail)
    assert all(weight.dtype == torch.float32 for weight in run.recognizer.parameters())


@pytest.mark.slow
def test_a_run_in_mixed_precision_learns(config_file, tmp_path):
    assert fit(start(config_file, tmp_path / "run", "train.precision=bf16-mixed"))["validation_accuracy"] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["16-mixed", "32-true"])
@pytest.mark.filterwarnings("ignore")  # on a CPU, Fabric takes bf16-mixed for 16-mixed, and says so
def test_a_gradient_too_large_for_16_bits_is_no_divergence(config_file, tmp_path, precision):
    """The scale of the loss starts high, and steps are left out until it fits."""
    run = start(config_file, tmp_path / "run", f"train.precision={precision}", "train.epochs=1")
    step = run._train_step

    def overflows(batch):
        loss, norm = step(batch)
        return loss, norm if run.step > 1 else float("inf")

    run._train_step = overflows
    if precision == "16-mixed":
        fit(run)
        assert 0 < metrics(tmp_path / "run")[0]["gradient_norm_max"] < float("inf")
    else:
        with pytest.raises(ConfigError, match="diverged"):
            fit(run)
