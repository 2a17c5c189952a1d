"""Teacher embeddings belong to their clip and moment; data_scripts.hints computes them."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from onnx import TensorProto, helper
from typer.testing import CliRunner

from data_scripts import hints as script
from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError
from speechrnn.evaluation.corpus import task_labels
from speechrnn.evaluation.partition import partition
from speechrnn.training.config import AugmentConfig, Config, DataConfig, NetworkConfig, StreamConfig, TrainConfig
from speechrnn.training.data import NO_SEQUENCES, TrainingData
from speechrnn.training.feature_distillation import EMBEDDING_SIZE, Regressor, TeacherEmbeddings, digests
from speechrnn.training.network import Recognizer
from speechrnn.training.objective import Objective

BLOCK = 320
LABELS = task_labels("yes,no")
SECONDS = np.array([0.4, 0.8])

pytestmark = pytest.mark.usefixtures("one_thread")


def clips(count):
    """Clips that differ."""
    return np.arange(count * SAMPLE_RATE, dtype=np.int64).astype(np.int16).reshape(count, SAMPLE_RATE)


def save(path, names, embeddings, seconds=SECONDS):
    np.savez(path, digests=list(names), embeddings=embeddings, seconds=seconds)
    return str(path)


def numbered(count, moments=2):
    """Embeddings that tell of which clip and moment they are."""
    of_clip, of_moment = np.indices((count, moments))
    return np.repeat((of_clip + of_moment / 10)[:, :, None], EMBEDDING_SIZE, axis=2).astype(np.float16)


@pytest.fixture(scope="module")
def hints(tmp_path_factory):
    """Of four clips, which the file has in another order, among others."""
    names = list(digests(clips(6)))[::-1]
    path = tmp_path_factory.mktemp("hints") / "hints.npz"
    return TeacherEmbeddings(save(path, names, numbered(6)[::-1]), clips(4))


def test_each_clip_has_its_own_hints(hints):
    moments, given = hints.batch([2, -1, 0], np.zeros(3, int), 60 * BLOCK, BLOCK)
    assert given.dtype == torch.float32
    assert given[:, :, 0].numpy() == pytest.approx(np.array([[2.0, 2.1], [0.0, 0.0], [0.0, 0.1]]), abs=1e-3)
    assert moments.tolist() == [[19, 39], [-1, -1], [19, 39]]  # those blocks end at 0.4 and 0.8 s


@given(start=st.integers(-8_000, 24_000), blocks=st.integers(50, 110))
def test_a_hint_moves_with_its_clip(hints, start, blocks):
    (moments,), _ = hints.batch([1], np.array([start]), blocks * BLOCK, BLOCK)
    assert all(0 <= moment < blocks for moment in moments)
    for moment, second in zip(moments.tolist(), SECONDS, strict=True):
        wanted = start / SAMPLE_RATE + second
        if 0.02 <= wanted <= 0.02 * blocks:
            assert (moment + 1) * 0.02 == pytest.approx(wanted, abs=0.0101)


def test_embeddings_stand_where_their_clips_are(tmp_path):
    names = [f"{number:08x}_nohash_0.wav" for number in range(60)]
    names = [name for name in names if partition(name) == "training"][:12]
    for n, name in enumerate(names):
        for word, level in (("yes", 0.1), ("no", 0.2), ("bed", 0.3)):
            (tmp_path / word).mkdir(exist_ok=True)
            soundfile.write(tmp_path / word / name, np.full(SAMPLE_RATE, level + n / 1000), SAMPLE_RATE)
    off = {name: 0.0 for name in vars(AugmentConfig()) if name.endswith("_probability")}
    augment = replace(AugmentConfig(**off), shift_seconds=0.1, long_batch_probability=0.5, twins=True)
    data = DataConfig(folder=str(tmp_path))
    train = TrainConfig(batch_size=8, workers=0)
    config = Config(data=data, augment=augment, stream=StreamConfig(rows=0), train=train)
    heard = TrainingData(config, LABELS).pool.clips
    path = save(tmp_path / "hints.npz", digests(heard), numbered(len(heard)))
    batches = TrainingData(replace(config, data=replace(data, hints=path)), LABELS)
    for index in range(len(batches)):
        audio, _, moments, hints, *_ = batches[index]
        assert len(audio) == len(moments) == len(hints) == 8
        for row, (first, second), hint in zip(audio.numpy(), moments.numpy(), hints.numpy(), strict=True):
            clip = heard[round(float(hint[0, 0]))]
            assert row.max() == pytest.approx(clip.max() / 32768.0, abs=1e-4)
            assert second - first == pytest.approx(20, abs=1)
            start = np.flatnonzero(row)[0]
            if start > 0:  # otherwise it may have begun before
                assert (first + 1) * BLOCK == pytest.approx(start + 0.4 * SAMPLE_RATE, abs=BLOCK)


def test_only_known_moments_are_learnt():
    regressor = Regressor(5)
    states = torch.randn(3, 10, 5, generator=torch.Generator().manual_seed(0))
    moments = torch.tensor([[1, 4], [-1, -1], [9, 9]])
    hints = torch.zeros(3, 2, EMBEDDING_SIZE)
    errors = regressor(states, moments, hints)
    assert errors.shape == (4, EMBEDDING_SIZE)
    expected = regressor.layers(states[[0, 0, 2, 2], [1, 4, 9, 9]]).square()
    torch.testing.assert_close(errors, expected)
    assert regressor(states, torch.full((3, 2), -1), hints).shape == (0, EMBEDDING_SIZE)


@pytest.mark.parametrize("cell", ["gru", "lstm", "bigru", "none"])
def test_every_network_can_learn_from_hints(cell):
    network = NetworkConfig(first_channels=4, channels=6, residual_layers=1, features=8, cell=cell, hidden_size=10)
    config = Config(data=DataConfig(hints="hints.npz"), network=network, stream=StreamConfig(rows=0))
    objective = Objective(config, Recognizer(config, LABELS), Fabric(accelerator="cpu", devices=1))
    audio = 0.1 * torch.randn(3, 50 * BLOCK, generator=torch.Generator().manual_seed(0))
    target, moments = torch.tensor([0, 1, 2]), torch.tensor([[20, 49], [-1, -1], [0, 5]])
    given = torch.ones(3, 2, EMBEDDING_SIZE)
    objective(audio, target, moments, given, *NO_SEQUENCES).backward()
    assert all(weight.grad.abs().max() > 0 for weight in objective.regressor.parameters())
    without = replace(config, train=TrainConfig(hint_weight=0.0))
    plain = replace(config, data=DataConfig())
    losses = []
    for chosen in (without, plain):
        part = Objective(chosen, objective.recognizer, objective.fabric).eval()
        torch.manual_seed(0)  # SpecAugment draws
        losses.append(part(audio, target, moments, given, *NO_SEQUENCES))
    assert torch.equal(*losses)


@pytest.mark.parametrize("broken", ["missing", "text", "other arrays", "half", "another clip", "another size"])
def test_hints_that_do_not_fit_are_refused(tmp_path, broken):
    path = tmp_path / "hints.npz"
    names, embeddings = list(digests(clips(4))), numbered(4)
    if broken == "another clip":
        names[2] = "0" * 16
    if broken == "another size":
        embeddings = embeddings[:, :, :32]
    if broken != "missing":
        save(path, names, embeddings)
    if broken == "text":
        path.write_text("nothing")
    if broken == "half":
        path.write_bytes(path.read_bytes()[:2000])
    if broken == "other arrays":
        np.savez(path, embeddings=embeddings)
    with pytest.raises(ConfigError, match=r"data\.hints: .*hints\.npz.* data_scripts\.hints") as raised:
        TeacherEmbeddings(str(path), clips(4))
    if broken == "another clip":
        assert "lacks 1 of the 4 clips" in str(raised.value)


def tiny_teacher(folder):
    """Two networks with the shapes of the real ones: frames of 400 samples every 160, windows of 76 every 8."""

    def write(name, nodes, given, made, weights):
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (given, made)]
        initial = [onnx.numpy_helper.from_array(value, key) for key, value in weights.items()]
        graph = helper.make_graph(nodes, "tiny", values[:1], values[1:], initial)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / name)

    rng = np.random.default_rng(0)
    mel_nodes = [
        helper.make_node("Unsqueeze", ["input", "one"], ["channel"]),
        helper.make_node("Conv", ["channel", "filters"], ["bands"], strides=[160]),
        helper.make_node("Abs", ["bands"], ["loud"]),
        helper.make_node("Transpose", ["loud"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("Unsqueeze", ["frames", "one"], ["output"]),
    ]
    filters = rng.standard_normal((32, 1, 400)).astype(np.float32)
    write(script.MEL, mel_nodes, ("input", ["batch", "samples"]), ("output", ["batch", 1, "time", 32]),
          {"filters": filters, "one": np.array([1])})  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["given", "picture_shape"], ["picture"]),
        helper.make_node("Conv", ["picture", "kernel"], ["windows"], strides=[8, 1]),
        helper.make_node("Reshape", ["windows", "vector_shape"], ["made"]),
    ]
    kernel = rng.standard_normal((EMBEDDING_SIZE, 1, 76, 32)).astype(np.float32)
    shapes = {"picture_shape": np.array([-1, 1, 76, 32]), "vector_shape": np.array([-1, 1, 1, EMBEDDING_SIZE])}
    write(script.EMBEDDING, nodes, ("given", ["n", 76, 32, 1]), ("made", ["n", 1, 1, EMBEDDING_SIZE]),
          {"kernel": kernel, **shapes})  # fmt: skip
    return folder


@pytest.fixture
def words(tmp_path):
    rng = np.random.default_rng(0)
    for word in ("yes", "no"):
        for name in (f"{number:08x}_nohash_0.wav" for number in range(8)):
            (tmp_path / "words" / word).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "words" / word / name, 0.1 * rng.standard_normal(SAMPLE_RATE), SAMPLE_RATE)
    config = tmp_path / "run.toml"
    config.write_text(f'[data]\nfolder = "{(tmp_path / "words").as_posix()}"\ntask = "yes,no"\n', encoding="utf-8")
    return config


def hear(*arguments):
    app = script.typer.Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_another_network_hears_every_training_clip(words, tmp_path):
    out = tmp_path / "hints.npz"
    run = hear(words, tiny_teacher(tmp_path), out)
    assert run.exit_code == 0, run.output
    with np.load(out) as content:
        seconds, embeddings, names = content["seconds"], content["embeddings"].astype(float), content["digests"]
    assert seconds == pytest.approx(0.4 + 0.08 * np.arange(13))
    assert embeddings.mean(axis=(0, 1)) == pytest.approx(0, abs=1e-2)
    assert embeddings.std(axis=(0, 1)) == pytest.approx(1, abs=1e-2)
    data = DataConfig(folder=str(words.parent / "words"), task="yes,no")
    sounds = script.AudioPool(data, LABELS, "training")
    assert set(names) == set(digests(sounds.clips))
    assert np.isfinite(TeacherEmbeddings(str(out), sounds.clips).embeddings).all()


def test_windows_of_a_whole_clip_are_those_of_its_parts(tmp_path):
    """The network that takes any length gives what the one it is made of gives for each window."""
    tiny_teacher(tmp_path)
    mel, one = (script.session((tmp_path / name).read_bytes()) for name in (script.MEL, script.EMBEDDING))
    clip = (3000 * np.random.default_rng(1).standard_normal(SAMPLE_RATE)).astype(np.int16)
    frames = mel.run(None, {"input": np.pad(clip, script.PADDING).astype(np.float32)[None]})[0][0, 0] / 10.0 + 2.0
    windows = np.stack([frames[start : start + 76] for start in range(0, len(frames) - 75, 8)])
    expected = one.run(None, {"given": windows[..., None]})[0][:, 0, 0]
    np.testing.assert_allclose(script.teacher(tmp_path)(clip), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("broken", ["no folder", "another network", "cut off", "empty", "no ONNX"])
def test_another_network_that_is_not_the_one_is_named(words, tmp_path, broken):
    models = tmp_path / "missing" if broken == "no folder" else tiny_teacher(tmp_path)
    file = models / script.EMBEDDING
    if broken == "another network":
        shutil.copy(models / script.MEL, file)
    elif broken != "no folder":
        whole = file.read_bytes()
        file.write_bytes({"cut off": whole[: len(whole) // 2], "empty": b"", "no ONNX": b"no network\n"}[broken])
    run = hear(words, models, tmp_path / "hints.npz")
    assert run.exit_code == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert ("missing" if broken == "no folder" else script.EMBEDDING) in run.stderr
    assert not (tmp_path / "hints.npz").exists()
