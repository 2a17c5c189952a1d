"""Training for other places: a published teacher, targets from clean clips, talkers behind words, loud microphones."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError, ModelError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.partition import partition
from speechrnn.training import bc_resnet
from speechrnn.training.audio_pool import CLIP_SAMPLES, Recordings
from speechrnn.training.augment import loudest_tenth
from speechrnn.training.config import AugmentConfig, Config, DataConfig, TrainConfig
from speechrnn.training.data import SPEECH, TrainingData
from speechrnn.training.objective import Teachers
from tests.support.environment import SHARED
from tests.support.noise import augmented, noise_clips
from tests.support.talking import LABELS, NEITHER, PLAIN, SILENCE, UNKNOWN, sequences, sounds
from tests.support.teachers import CPU, saved

PUBLISHED = SHARED.parent / "teachers" / "bc-resnet-2-35.pt"
TWELVE = corpus.task_labels("12")

pytestmark = pytest.mark.usefixtures("one_thread")


# The published teacher


@pytest.fixture(scope="module")
def published():
    if not PUBLISHED.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{PUBLISHED} is missing: CI skips nothing")
        pytest.skip("needs ../shared/teachers, which a clone doesn't have")
    return bc_resnet.load(PUBLISHED)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """Weights of the same shapes, of no use."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "bc.pt"
    torch.save(bc_resnet.BCResNet().state_dict(), path)
    return path


def real_clips(word, count):
    """The first clips of validation speakers [count, SAMPLE_RATE]."""
    found = []
    with tarfile.open(SHARED / "speech_commands" / f"{word}.tar") as archive:
        for member in archive:
            if member.isfile() and partition(Path(member.name).name) == "validation":
                sound, _ = soundfile.read(io.BytesIO(archive.extractfile(member).read()), dtype="float32")
                found.append(np.resize(np.pad(sound, (0, SAMPLE_RATE)), SAMPLE_RATE))
            if len(found) == count:
                return torch.from_numpy(np.stack(found))
    raise AssertionError(word)


def test_the_published_network_knows_recorded_words(published):
    """Every layer is where it belongs: clips of speakers whom it has not heard get their words."""
    for word in ("yes", "left", "happy"):
        with torch.no_grad():
            heard = published(real_clips(word, 20)).argmax(1)
        assert (heard == corpus.THIRTY_FIVE_WORDS.index(word)).sum() >= 18, word


def test_every_second_gets_a_row_of_35(stand_in):
    with torch.no_grad():
        assert bc_resnet.load(stand_in)(torch.zeros(3, SAMPLE_RATE)).shape == (3, 35)


def test_words_go_to_their_labels_and_all_others_to_unknown():
    posterior = torch.eye(35)
    silence = torch.linspace(0.0, 1.0, 35)
    heard = bc_resnet.map_labels(posterior, TWELVE, silence)
    torch.testing.assert_close(heard.sum(1), torch.ones(35))
    torch.testing.assert_close(heard[:, TWELVE.index("_silence_")], silence)
    for row, word in enumerate(corpus.THIRTY_FIVE_WORDS):
        label = word if word in corpus.TEN_WORDS else "_unknown_"
        assert heard[row, TWELVE.index(label)] == pytest.approx(1.0 - silence[row].item())


def test_silence_comes_from_the_other_teacher(stand_in, tmp_path):
    ours = saved(tmp_path / "ours.pt", labels=TWELVE)
    sound = noise_clips(4)
    alone, both = (Teachers(paths, TWELVE, CPU).posterior(sound) for paths in ([ours], [ours, str(stand_in)]))
    with torch.no_grad():
        words = bc_resnet.load(stand_in)(sound).softmax(1)
    mean = (alone * bc_resnet.map_labels(words, TWELVE, alone[:, -1])).sqrt()
    torch.testing.assert_close(both, mean / mean.sum(1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_what_it_cannot_teach_is_refused(stand_in, tmp_path):
    with pytest.raises(ConfigError, match="knows no silence"):
        Teachers([str(stand_in)], TWELVE, CPU)
    labels = corpus.task_labels("yes,lamp")
    with pytest.raises(ConfigError, match="can't teach this task, because of lamp"):
        Teachers([saved(tmp_path / "ours.pt", labels=labels), str(stand_in)], labels, CPU)
    (tmp_path / "damaged.pt").write_bytes(stand_in.read_bytes()[:5000])
    for path in (tmp_path / "none.pt", tmp_path / "damaged.pt"):
        with pytest.raises(ModelError, match=path.name):
            bc_resnet.load(path)
        with pytest.raises(ModelError, match=path.name):
            Teachers([str(path)], TWELVE, CPU)


# What teachers have heard in clean clips


def test_clean_clips_are_heard_with_their_tail(tmp_path):
    teachers = Teachers([saved(tmp_path / "ours.pt", labels=TWELVE)], TWELVE, CPU)
    clips = (noise_clips(20).numpy() * 32768.0).astype(np.int16)
    counted = []
    heard = teachers.of_clips(clips, 6400, lambda done, total: counted.append((done, total)))
    tailed = torch.nn.functional.pad(torch.from_numpy(clips).float() / 32768.0, (0, int(0.4 * SAMPLE_RATE)))
    torch.testing.assert_close(heard, teachers.posterior(tailed), atol=1e-5, rtol=1e-4)
    assert counted[-1] == (20, 20)


def test_targets_are_labels_and_what_teachers_heard_in_clips_of_the_folder():
    data = TrainingData.__new__(TrainingData)
    data.config, data.labels = Config(train=TrainConfig(teacher_weight=0.25)), LABELS
    clips, labels = np.array([1, 5, SPEECH, 0]), torch.tensor([0, 1, UNKNOWN, 1])
    data.posteriors = None
    assert data._targets(clips, labels) is labels
    data.posteriors = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    expected = [[0.85, 0.075, 0.05, 0.025], [0, 1, 0, 0], [0, 0, 1, 0], [0.025, 0.8, 0.075, 0.1]]
    torch.testing.assert_close(data._targets(clips, labels), torch.tensor(expected))


def test_mixed_clips_and_a_view_that_is_none_are_refused():
    with pytest.raises(ConfigError, match="teachers_view"):
        Config(augment=AugmentConfig(mix_probability=0.1), train=TrainConfig(teachers=("a.pt",), teachers_view="clean"))
    with pytest.raises(ConfigError, match=r"train\.teachers_view: 'dirty' is not one of augmented, clean"):
        TrainConfig(teachers_view="dirty")


# Talkers behind words


def bed(rng, samples):
    return np.full(samples, 0.3, np.float32)


@pytest.mark.parametrize("below", [10.0, 20.0])
def test_talkers_stand_below_the_loudest_tenth_of_a_second(below):
    clip = torch.zeros(1, SAMPLE_RATE)
    clip[0, 4000:6400] = 0.4  # 0.15 s
    assert loudest_tenth(clip[0].numpy()) == pytest.approx(0.4)
    heard = augmented(clip, beds=bed, bed_probability=1.0, bed_low_db=below, bed_high_db=below)
    level = 0.4 / 10.0 ** (below / 20.0)
    assert heard[0, 0].item() == pytest.approx(level, rel=1e-4)
    assert heard[0, 5000].item() == pytest.approx(0.4 + level, rel=1e-4)


def test_noise_alone_has_no_talkers_behind_it():
    silent = np.ones(4, bool)
    assert not augmented(torch.zeros(4, SAMPLE_RATE), silent=silent, beds=bed, bed_probability=1.0).any()


def with_beds(heard):
    heard.beds = Recordings([np.full(50_000, 3_000, np.int16)])
    return heard


def test_talkers_run_through_a_row_below_its_quietest_command():
    augment = replace(PLAIN, bed_probability=1.0, bed_low_db=20.0, bed_high_db=20.0)
    how = {"augment": augment, "heard": with_beds(sounds()), "command_share": 0.7}
    plain = sequences(heard=sounds(), command_share=0.7)
    heard = sequences(**how)
    for seed in range(10):
        (sound, targets, words), (before, old, same) = (
            of.batch(np.random.default_rng(seed), 6) for of in (heard, plain)
        )
        assert torch.equal(words, same)
        assert not (targets == SILENCE).any()
        assert torch.equal(targets == NEITHER, (old == NEITHER) | (old == SILENCE))
        for row in range(6):
            added = (sound - before)[row]
            commands = [int(block) for r, block, label in words if r == row and label != UNKNOWN]
            if not commands:
                continue
            loudest = min(before[row, 320 * b : 320 * b + CLIP_SAMPLES].max().item() for b in commands)
            torch.testing.assert_close(added, torch.full_like(added, loudest / 10.0), atol=2e-4, rtol=1e-2)


def test_talkers_alone_are_no_command():
    heard = with_beds(sounds())
    heard.config = DataConfig(bed_folders=("beds",), bed_share=1.0)
    sound, targets, words = sequences(heard=heard, speech_share=1.0).batch(np.random.default_rng(0), 8)
    assert (targets == NEITHER).all()
    assert len(words) == 0
    assert (sound > 0).all()


def test_talkers_without_recordings_are_refused():
    with pytest.raises(ConfigError, match=r"data\.bed_folders"):
        Config(augment=AugmentConfig(bed_probability=0.1))
    with pytest.raises(ConfigError, match=r"data\.bed_folders"):
        Config(data=DataConfig(bed_share=0.1))


# Microphones


def test_an_overdriven_clip_is_cut_off_at_full_scale():
    clips = noise_clips(40, level=0.01)
    driven = augmented(clips, overdrive_probability=1.0, overdrive_db=20.0)
    assert (driven.abs().amax(1) == 1.0).all()
    cut_off = (driven.abs() == 1.0).float().mean(1)
    assert (cut_off > 0.3).any()  # by up to 20 dB
    assert torch.equal(driven.sign(), clips.sign())
