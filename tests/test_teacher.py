"""Teachers: the embedding takes its weights from ONNX, and a run learns what its teachers hear."""

import numpy as np
import onnx
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from onnx import TensorProto, helper
from torch.nn import functional as F
from typer.testing import CliRunner

from data_scripts import teacher as script
from data_scripts.hints import EMBEDDING, WINDOW, WINDOW_HOP
from speechrnn.errors import ConfigError
from speechrnn.training import checkpoint
from speechrnn.training.augment import mix
from speechrnn.training.config import AugmentConfig, Config, FrontEndConfig, NetworkConfig, StreamConfig, TrainConfig
from speechrnn.training.corpus import task_labels
from speechrnn.training.data import NO_SEQUENCES
from speechrnn.training.embedding import BANDS, PADDING, Embedding
from speechrnn.training.hints import EMBEDDING_SIZE, NO_HINTS
from speechrnn.training.network import Recognizer
from speechrnn.training.objective import MIXED, Objective, Teachers, clip_logits

LABELS = task_labels("yes,no")
FRONT_END = FrontEndConfig(n_mels=BANDS, f_min=60.0, f_max=3800.0, log_offset=1e-10, mel_scale="slaney")
SMALL = NetworkConfig(first_channels=4, channels=4, residual_layers=0, features=8, hidden_size=8, layers=1, dropout=0.0)
CLIP = 22_400

pytestmark = pytest.mark.usefixtures("one_thread")


def embedding():
    torch.manual_seed(0)
    return Embedding(NetworkConfig(cell="embedding"), FRONT_END, len(LABELS)).eval()


def saved(path, labels=LABELS, seed=0, **settings):
    """A small recognizer as a checkpoint."""
    torch.manual_seed(seed)
    config = Config(network=SMALL, **settings)
    recognizer = Recognizer(config, labels)
    content = {"weights": recognizer.state_dict(), "config": config.to_dict(), "labels": list(labels)}
    checkpoint.save(path, content)
    return str(path)


def objective(teachers=(), weight=0.7, mix_probability=0.0, seed=1):
    torch.manual_seed(seed)
    config = Config(
        network=SMALL,
        stream=StreamConfig(rows=0),
        augment=AugmentConfig(frequency_masks=0, time_masks=0, mix_probability=mix_probability),
        train=TrainConfig(teachers=tuple(teachers), teacher_weight=weight),
    )
    return Objective(config, Recognizer(config, LABELS).eval(), Fabric(accelerator="cpu", devices=1))


def loss(of, audio, target):
    return of(audio, target, *NO_HINTS, *NO_SEQUENCES)


@pytest.fixture(scope="module")
def sound():
    return torch.randn(8, CLIP, generator=torch.Generator().manual_seed(0)) * 0.1


# The embedding


def graph_of(network, path, change=lambda name, value: value):
    """embedding_model.onnx, as far as `fill` reads it: convolutions in their order."""
    nodes, weights = [], []
    for n, layer in enumerate(m for m in network.convolutions if isinstance(m, torch.nn.Conv2d)):
        names = [f"{name}{n}" for name in ("w", "b")[: 1 if layer.bias is None else 2]]
        nodes.append(helper.make_node("Conv", [f"x{n}", *names], [f"x{n + 1}"], name=f"conv{n}"))
        for name, value in zip(names, layer.parameters(), strict=True):
            weights.append(onnx.numpy_helper.from_array(change(name, value.detach().contiguous().numpy()), name))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", f"x{len(nodes)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "embedding", ends[:1], ends[1:], weights)), path)


def test_the_published_weights_come_in_their_order(tmp_path):
    theirs, ours = embedding(), embedding()
    for parameter in ours.convolutions.parameters():
        torch.nn.init.zeros_(parameter)
    graph_of(theirs, tmp_path / EMBEDDING)
    script.fill(ours, tmp_path / EMBEDDING)
    for given_, filled in zip(theirs.convolutions.parameters(), ours.convolutions.parameters(), strict=True):
        assert torch.equal(given_, filled)


@pytest.fixture(scope="module")
def network():
    return embedding()


@settings(deadline=None)
@given(frames=st.integers(2, 300))
def test_there_is_an_embedding_every_eight_frames(network, frames):
    with torch.no_grad():
        heard = network.embeddings(torch.randn(1, frames, BANDS))
    assert heard.shape == (1, EMBEDDING_SIZE, (frames + 2 * PADDING - WINDOW) // WINDOW_HOP + 1)


def test_how_silent_digital_silence_is_does_not_matter(network):
    """What is more than 80 dB below the loudest is raised to that."""
    frames = torch.randn(1, 60, BANDS)
    frames[:, :20] = -20.0
    deeper = frames.clone()
    deeper[:, :20] = -23.0
    assert frames.max() - 8.0 * np.log(10.0) > -20.0
    with torch.no_grad():
        assert torch.equal(network.embeddings(frames), network.embeddings(deeper))


def test_another_number_of_bands_is_refused():
    with pytest.raises(ConfigError, match=r"front_end\.n_mels: is 40, but .* 32 bands"):
        Recognizer(Config(network=NetworkConfig(cell="embedding"), stream=StreamConfig(rows=0)), LABELS)


def first_weights(*arguments):
    app = typer.Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def config_file(folder, cell="embedding"):
    path = folder / "teacher.toml"
    path.write_text(
        f'[front_end]\nn_mels = {BANDS}\n[network]\ncell = "{cell}"\n[stream]\nrows = 0\n[data]\ntask = "yes,no"\n',
        encoding="utf-8",
    )
    return path


def test_the_first_weights_of_a_teacher_are_a_checkpoint(tmp_path):
    theirs = embedding()
    graph_of(theirs, tmp_path / EMBEDDING)
    run = first_weights(config_file(tmp_path), tmp_path, tmp_path / "out.pt")
    assert run.exit_code == 0, run.output
    recognizer, content = checkpoint.recognizer(tmp_path / "out.pt")
    assert content["labels"] == list(LABELS)
    assert torch.equal(recognizer.network.convolutions[0].weight, theirs.convolutions[0].weight)
    with torch.no_grad():
        assert torch.isfinite(clip_logits(recognizer, torch.zeros(2, CLIP))).all()  # digital silence too


@pytest.mark.parametrize("broken", ["missing", "another network", "another cell"])
def test_what_no_teacher_can_be_made_of_is_named(tmp_path, broken):
    if broken == "another network":
        graph_of(embedding(), tmp_path / EMBEDDING, lambda name, value: value[:1])
    elif broken == "another cell":
        graph_of(embedding(), tmp_path / EMBEDDING)
    config = config_file(tmp_path, "gru" if broken == "another cell" else "embedding")
    run = first_weights(config, tmp_path, tmp_path / "out.pt")
    assert run.exit_code == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert ("teacher.toml" if broken == "another cell" else EMBEDDING) in run.stderr
    assert not (tmp_path / "out.pt").exists()


# Learning from teachers


def test_teachers_are_heard_together(tmp_path, sound):
    paths = [saved(tmp_path / f"{seed}.pt", seed=seed) for seed in (2, 3)]
    posterior = Teachers(paths, LABELS, torch.device("cpu")).posterior(sound)
    with torch.no_grad():
        each = [clip_logits(checkpoint.recognizer(path)[0], sound).softmax(1) for path in paths]
    mean = (each[0] * each[1]).sqrt()
    torch.testing.assert_close(posterior, mean / mean.sum(1, keepdim=True))


def test_what_a_teacher_hears_is_the_target(tmp_path, sound):
    """With all the weight on the teacher, a label says nothing, and to hear the same is the best that can be done."""
    path = saved(tmp_path / "teacher.pt", seed=1)
    same, other = objective([path], 1.0, seed=1), objective([path], 1.0, seed=2)
    target = torch.zeros(8, dtype=torch.int64)
    posterior = same.teachers.posterior(sound)
    entropy = -(posterior * posterior.log()).sum(1).mean()
    assert loss(same, sound, target).item() == pytest.approx(entropy.item(), abs=1e-5)
    assert loss(other, sound, target) > entropy
    assert torch.equal(loss(other, sound, target), loss(other, sound, target + 1))


def test_label_and_teacher_are_weighed(tmp_path, sound):
    path, target = saved(tmp_path / "teacher.pt", seed=3), torch.arange(8) % 4
    of_label, of_teacher, both = (loss(objective([path], weight), sound, target).item() for weight in (0.0, 1.0, 0.25))
    assert both == pytest.approx(0.75 * of_label + 0.25 * of_teacher, abs=1e-5)
    assert of_label == pytest.approx(loss(objective(), sound, target).item(), abs=1e-6)


def test_a_teacher_is_no_part_of_what_is_trained(tmp_path):
    with_teacher, without = objective([saved(tmp_path / "teacher.pt")]), objective()
    assert with_teacher.state_dict().keys() == without.state_dict().keys()
    assert len(list(with_teacher.parameters())) == len(list(without.parameters()))


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_clips_that_are_mixed_are_their_own_and_a_weaker_one(sound, probability):
    torch.manual_seed(0)
    clips = (0.1 * sound.sign()).repeat(16, 1)
    mixed, which = mix(clips, probability)
    assert which.float().mean().item() == pytest.approx(probability, abs=0.15)
    assert torch.equal(mixed[~which], clips[~which])
    added = (mixed - clips)[which].abs().amax(1)
    assert ((added > 0.0099) & (added < 0.1001)).all()  # 20 to 0 dB below the clip before


def test_only_the_teacher_judges_what_is_mixed(tmp_path, sound):
    path = saved(tmp_path / "teacher.pt", seed=3)
    target = torch.zeros(8, dtype=torch.int64)
    losses = []
    for label in (0, 1):
        torch.manual_seed(0)
        losses.append(loss(objective([path], 0.5, mix_probability=1.0), sound, target + label))
    assert torch.equal(*losses)
    assert torch.isfinite(losses[0])


def test_a_label_of_mixed_clips_is_none_of_the_labels():
    assert MIXED == -100 == torch.nn.CrossEntropyLoss().ignore_index


def test_clips_without_a_label_do_not_count(sound):
    of = objective()
    target = torch.tensor([0, 1, MIXED, MIXED, 2, MIXED, 3, 0])
    known = target != MIXED
    logits = clip_logits(of.recognizer, sound)
    expected = F.cross_entropy(logits[known], target[known], label_smoothing=of.config.train.label_smoothing)
    torch.testing.assert_close(of._of_labels(logits, target), expected)


def test_a_teacher_of_another_task_is_refused(tmp_path):
    path = saved(tmp_path / "other.pt", task_labels("up,down"))
    with pytest.raises(ConfigError, match=r"train\.teachers: .*other\.pt has other labels"):
        objective([path])


def test_mixing_without_a_teacher_or_with_twins_is_refused():
    with pytest.raises(ConfigError, match=r"augment\.mix_probability: needs train\.teachers"):
        Config(augment=AugmentConfig(mix_probability=0.1))
    with pytest.raises(ConfigError, match=r"augment\.mix_probability: .* twins"):
        Config(augment=AugmentConfig(mix_probability=0.1, twins=True), train=TrainConfig(teachers=("teacher.pt",)))
