"""Teachers: Whisper's encoder takes its weights from a published file, and a run learns what its teachers hear."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch.nn import functional as F
from typer.testing import CliRunner

from data_scripts import teacher as script
from speechrnn.errors import ConfigError
from speechrnn.evaluation.corpus import task_labels
from speechrnn.training import checkpoint
from speechrnn.training.augment import mix
from speechrnn.training.config import AugmentConfig, Config, FrontEndConfig, NetworkConfig, StreamConfig, TrainConfig
from speechrnn.training.data import NO_SEQUENCES
from speechrnn.training.feature_distillation import NO_EMBEDDINGS
from speechrnn.training.network import Recognizer
from speechrnn.training.objective import MIXED, Objective, Teachers, clip_logits
from speechrnn.training.whisper import BANDS, POSITIONS, Whisper
from tests.support.teachers import CPU, LABELS, SMALL, saved

FRONT_END = FrontEndConfig(n_fft=400, n_mels=BANDS, f_min=0.0, f_max=8000.0, log_offset=1e-10, mel_scale="slaney")
ENCODER = NetworkConfig(cell="whisper", hidden_size=128, layers=2)
CLIP = 22_400

pytestmark = pytest.mark.usefixtures("one_thread")


def encoder(seed=0, layers=ENCODER.layers):
    torch.manual_seed(seed)
    network = Whisper(replace(ENCODER, layers=layers), FRONT_END, len(LABELS)).eval()
    for parameter in network.parameters():  # no two alike, those that begin as zeros or ones too
        parameter.data += 0.01 * torch.randn(parameter.shape)
    return network


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
    return of(audio, target, *NO_EMBEDDINGS, *NO_SEQUENCES)


@pytest.fixture(scope="module")
def sound():
    return torch.randn(8, CLIP, generator=torch.Generator().manual_seed(0)) * 0.1


# The encoder


def model_bin(network, path, change=lambda name, value: value):
    """A model.bin, as far as `fill` reads it: halves, more positions than we have, and a decoder that isn't ours."""
    parameters = dict(network.named_parameters())
    values = {theirs: parameters[ours].detach().half().numpy() for ours, theirs in script.names(len(network.layers))}
    values[script.POSITIONS_THERE] = np.pad(values[script.POSITIONS_THERE], ((0, 50), (0, 0)))
    values |= {"encoder/num_heads": np.array(2, np.int16), "decoder/scale": np.ones(3, np.float32)}

    def text(words):
        return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"

    content = struct.pack("<I", script.CTRANSLATE2_VERSION) + text("WhisperSpec") + struct.pack("<II", 3, len(values))
    for name, value in values.items():
        value = change(name, value)
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        kind = script.CTRANSLATE2_TYPES.index(value.dtype.type)
        content += text(name) + shape + struct.pack("<BI", kind, value.nbytes) + value.tobytes()
    path.write_bytes(content)
    return path


def test_the_published_weights_find_their_places(tmp_path):
    theirs, ours = encoder(seed=0), encoder(seed=1)
    script.fill(ours, model_bin(theirs, tmp_path / "model.bin"))
    head = ("head.", "output.")
    for (name, given_), filled in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        assert torch.equal(given_.half().float(), filled) != name.startswith(head), name


@pytest.fixture(scope="module")
def network():
    return encoder()


@settings(deadline=None)
@given(blocks=st.integers(1, POSITIONS))
def test_there_is_a_row_for_each_block(network, blocks):
    with torch.no_grad():
        assert network.encoded(torch.randn(1, 2 * blocks, BANDS)).shape == (1, blocks, ENCODER.hidden_size)


def test_how_silent_digital_silence_is_does_not_matter(network):
    """What is more than 80 dB below the loudest is raised to that."""
    frames = torch.randn(1, 60, BANDS)
    frames[:, :20] = -20.0
    deeper = frames.clone()
    deeper[:, :20] = -23.0
    assert frames.max() - 8.0 * np.log(10.0) > -20.0
    with torch.no_grad():
        assert torch.equal(network.encoded(frames), network.encoded(deeper))


def test_another_number_of_bands_is_refused():
    with pytest.raises(ConfigError, match=r"front_end\.n_mels: is 40, but .* 80 bands"):
        Recognizer(Config(network=ENCODER, stream=StreamConfig(rows=0)), LABELS)


def test_a_size_without_heads_is_refused():
    network = NetworkConfig(cell="whisper", hidden_size=152)
    with pytest.raises(ConfigError, match=r"network\.hidden_size: is 152; .* tiny has 384 and base 512"):
        Recognizer(Config(front_end=FRONT_END, network=network, stream=StreamConfig(rows=0)), LABELS)


def first_weights(*arguments):
    app = typer.Typer()
    app.command()(script.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def config_file(folder, cell="whisper"):
    path = folder / "teacher.toml"
    path.write_text(
        f'[front_end]\nn_mels = {BANDS}\n[network]\ncell = "{cell}"\nhidden_size = {ENCODER.hidden_size}\n'
        f'layers = {ENCODER.layers}\n[stream]\nrows = 0\n[data]\ntask = "yes,no"\n',
        encoding="utf-8",
    )
    return path


def test_the_first_weights_of_a_teacher_are_a_checkpoint(tmp_path):
    theirs = encoder()
    run = first_weights(config_file(tmp_path), model_bin(theirs, tmp_path / "model.bin"), tmp_path / "out.pt")
    assert run.exit_code == 0, run.output
    recognizer, content = checkpoint.recognizer(tmp_path / "out.pt")
    assert content["labels"] == list(LABELS)
    assert torch.equal(recognizer.network.positions, theirs.positions.half().float())
    with torch.no_grad():
        assert torch.isfinite(clip_logits(recognizer, torch.zeros(2, CLIP))).all()  # digital silence too


def not_ours(path, broken):
    """A model.bin that can't be used."""
    if broken == "another network":
        return model_bin(encoder(), path, lambda name, value: value[:1] if value.ndim else value)
    if broken == "more layers":
        return model_bin(encoder(layers=ENCODER.layers + 1), path)
    if broken == "another format":
        path.write_bytes(b"\x08" * 1000)
    elif broken == "cut off":
        path.write_bytes(model_bin(encoder(), path).read_bytes()[:-100_000])
    return path


@pytest.mark.parametrize("broken", ["missing", "another network", "more layers", "another format", "cut off"])
def test_what_no_teacher_can_be_made_of_is_named(tmp_path, broken):
    run = first_weights(config_file(tmp_path), not_ours(tmp_path / "model.bin", broken), tmp_path / "out.pt")
    assert run.exit_code == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert "model.bin" in run.stderr
    assert not (tmp_path / "out.pt").exists()


def test_a_config_of_no_teacher_is_named(tmp_path):
    run = first_weights(config_file(tmp_path, "gru"), model_bin(encoder(), tmp_path / "model.bin"), tmp_path / "out.pt")
    assert run.exit_code == 2
    assert "teacher.toml: network.cell is 'gru', not whisper" in run.stderr


# Learning from teachers


def test_teachers_are_heard_together(tmp_path, sound):
    paths = [saved(tmp_path / f"{seed}.pt", seed=seed) for seed in (2, 3)]
    posterior = Teachers(paths, LABELS, CPU).posterior(sound)
    with torch.no_grad():
        each = [clip_logits(checkpoint.recognizer(path)[0], sound).softmax(1) for path in paths]
    mean = (each[0] * each[1]).sqrt()
    torch.testing.assert_close(posterior, mean / mean.sum(1, keepdim=True))


def test_a_teacher_computes_in_16_bits_where_it_has_learnt_so(tmp_path, sound):
    exact, rounded = (
        Teachers([saved(tmp_path / f"{precision}.pt", train=TrainConfig(precision=precision))], LABELS, CPU)
        for precision in ("32-true", "bf16-mixed")
    )
    expected, heard = exact.posterior(sound), rounded.posterior(sound)
    assert heard.dtype == torch.float32
    assert not torch.equal(heard, expected)
    torch.testing.assert_close(heard, expected, atol=0.02, rtol=0.0)


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
