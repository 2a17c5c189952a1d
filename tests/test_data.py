"""Batches: the same for the same seed, epoch and number; every word as often; in whole blocks."""

import pickle
from collections import Counter
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import soundfile
import torch

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.corpus import SILENCE, UNKNOWN, task_labels
from speechrnn.evaluation.partition import partition
from speechrnn.training.audio_pool import CLIP_SAMPLES
from speechrnn.training.config import AugmentConfig, Config, DataConfig, StreamConfig, TrainConfig
from speechrnn.training.data import PSEUDO_WORD, SPEECH, TrainingData, evaluation_tensors

BATCH = 8
LABELS = task_labels("yes,no,rare")
CLIPS_OF = {"yes": 20, "no": 20, "rare": 5, "bed": 12, "cat": 3}
QUIET = AugmentConfig(
    shift_seconds=0.0, speed_probability=0.0, gate_probability=0.0, gain_probability=0.0, noise_probability=0.0,
    room_probability=0.0, band_limit_probability=0.0, response_probability=0.0, eight_bit_probability=0.0,
    dropout_probability=0.0, long_batch_probability=0.0,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def speakers(part, count):
    names = (f"{number:08x}" for number in range(10_000))
    return [name for name in names if partition(f"{name}_nohash_0.wav") == part][:count]


def write(path, sound):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, SAMPLE_RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Words of constant value, so that a clip in a batch tells where it is from: clip n of a word is 0.1 + n / 1000."""
    root = tmp_path_factory.mktemp("speech_commands")
    for word, count in CLIPS_OF.items():
        for n, name in enumerate(speakers("training", count)):
            write(root / word / f"{name}_nohash_0.wav", np.full(SAMPLE_RATE // 2, 0.1 + n / 1000, np.float32))
        for name in speakers("validation", 3):
            write(root / word / f"{name}_nohash_0.wav", np.full(SAMPLE_RATE, 0.9, np.float32))
    # The last fifth is for validation, and of another level.
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 5 * SAMPLE_RATE)
    noise[4 * SAMPLE_RATE :] = 0.9
    write(root / "_background_noise_" / "noise.wav", noise)
    return root


NO_STREAM = StreamConfig(rows=0)


def settings(folder, augment=QUIET, data=None, stream=NO_STREAM, **train):
    values = {"batch_size": BATCH, "workers": 0, "seed": 3, **train}
    data = DataConfig(folder=str(folder), **(data or {}))
    return Config(data=data, augment=augment, stream=stream, train=TrainConfig(**values))


@pytest.fixture(scope="module")
def busy(folder):
    """Data with all of the augmentation, and a sequence besides."""
    stream = StreamConfig(rows=1, seconds=3.0)
    return TrainingData(settings(folder, AugmentConfig(long_batch_probability=0.5), stream=stream), LABELS)


@pytest.fixture(scope="module")
def plain(folder):
    """Data without augmentation."""
    return TrainingData(settings(folder), LABELS)


def batches(data, workers=0, epoch=0):
    data.config = replace(data.config, train=replace(data.config.train, workers=workers))
    data.set_epoch(epoch)
    return list(data.loader())


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for batch, other in zip(first, second, strict=True) for a, b in zip(batch, other, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_however_many_workers_prepare_them(busy, workers):
    assert equal(batches(busy, 0, epoch=1), batches(busy, workers, epoch=1))


def test_a_batch_depends_on_its_number_alone(busy):
    busy.set_epoch(0)
    alone = busy[3]
    assert equal([alone], [batches(busy)[3]])
    assert not torch.equal(busy[3][0][:, :CLIP_SAMPLES], busy[4][0][:, :CLIP_SAMPLES])


def test_the_same_seed_gives_the_same_data_and_another_seed_another(folder, busy):
    again = TrainingData(busy.config, LABELS)
    assert equal([again[n] for n in range(3)], [busy[n] for n in range(3)])
    other = TrainingData(replace(busy.config, train=replace(busy.config.train, seed=4)), LABELS)
    assert not equal([other[0]], [busy[0]])


def test_epochs_differ_and_come_back(busy):
    first, second = batches(busy, epoch=0), batches(busy, epoch=1)
    assert not equal(first, second)
    assert equal(first, batches(busy, epoch=0))


def test_the_same_clips_sound_different_in_the_next_epoch(busy):
    busy.set_epoch(0)
    audio, labels, *_ = busy[0]
    busy.epoch = 1  # in the order of the epoch before
    again, same_labels, *_ = busy[0]
    assert torch.equal(labels, same_labels)
    changed = [(row[:CLIP_SAMPLES] != other[:CLIP_SAMPLES]).any() for row, other in zip(audio, again, strict=True)]
    assert sum(changed) >= BATCH - 2  # digital silence stays what it is


def test_workers_can_be_spawned(busy):
    """Where processes aren't forked, the data and what a worker starts with are pickled."""
    loader = busy.loader()
    data, start = pickle.loads(bytes(ForkingPickler.dumps((busy, loader.worker_init_fn))))
    assert equal([data[0]], [busy[0]])
    assert callable(start)


def drawn(data, epoch=0):
    """How often each label comes in an epoch, before the last batch is cut off."""
    data.set_epoch(epoch)
    return Counter(data.labels[label] for _, label in data.order)


def test_every_word_comes_equally_often_even_a_rare_one(plain):
    counts = drawn(plain)
    average = round((20 + 20 + 5) / 3)
    assert [counts[word] for word in ("yes", "no", "rare")] == [average] * 3
    used = Counter(clip for clip, label in plain.order if plain.labels[label] == "rare")
    assert set(used.values()) == {3}  # each of the five clips, three times
    assert max(Counter(clip for clip, label in plain.order if plain.labels[label] == "yes").values()) == 1


def test_other_labels_have_their_shares(folder):
    data = TrainingData(settings(folder, data={"unknown_share": 3.0, "silence_share": 0.6}), LABELS)
    counts = drawn(data)
    assert counts[UNKNOWN] == 3 * counts["yes"]
    assert counts[SILENCE] == round(0.6 * counts["yes"])
    assert len(data) == sum(counts.values()) // BATCH


def test_rare_other_words_count_for_more_than_their_share(plain):
    words = Counter()
    of = {clip: word for word, clips in plain.pool.by_word.items() for clip in clips}
    for epoch in range(30):
        plain.set_epoch(epoch)
        words.update(of[clip] for clip, label in plain.order if plain.labels[label] == UNKNOWN)
    # By the square root of 12 and 3 clips: two to one, rather than four to one.
    assert words["bed"] / words["cat"] == pytest.approx(2.0, rel=0.2)


def test_a_task_without_unknown_and_silence_has_words_alone(folder):
    data = TrainingData(settings(folder), ("yes", "no"))
    assert set(drawn(data)) == {"yes", "no"}


def test_a_batch_holds_the_clips_that_it_says(plain):
    """Without augmentation each row is a clip as it was read, then the tail of digital silence."""
    plain.set_epoch(0)
    for index in range(len(plain)):
        audio, labels, *others = plain[index]
        assert [len(part) for part in others] == [0] * 5  # neither hints nor sequences
        assert audio.dtype == torch.float32
        assert labels.dtype == torch.int64
        for row, label, (clip, _) in zip(audio, labels, plain.order[index * BATCH :], strict=False):
            name = plain.labels[label]
            if name == SILENCE:
                assert clip == -2
                continue
            word = next(word for word, clips in plain.pool.by_word.items() if clip in clips)
            assert name == (word if word in plain.labels else UNKNOWN)
            level = 0.1 + (clip - min(plain.pool.by_word[word])) / 1000
            assert row[: SAMPLE_RATE // 2].numpy() == pytest.approx(level, abs=1e-4)
            assert not row[SAMPLE_RATE // 2 :].any()


@pytest.mark.parametrize("tail_seconds", [0.0, 0.2, 0.58])
def test_batches_are_whole_blocks(folder, tail_seconds):
    config = replace(settings(folder, AugmentConfig(long_batch_probability=0.5)), tail_seconds=tail_seconds)
    lengths = [audio.shape for audio, *_ in TrainingData(config, LABELS).loader()]
    assert {rows for rows, _ in lengths} == {BATCH}
    assert all(samples % 320 == 0 for _, samples in lengths)
    shortest = CLIP_SAMPLES + round(tail_seconds * 50) * 320
    assert min(samples for _, samples in lengths) == shortest
    assert shortest < max(samples for _, samples in lengths) <= shortest + CLIP_SAMPLES


def test_running_speech_is_cut_into_unknown(folder, tmp_path):
    reader = next(name for name in map(str, range(100)) if partition(name) == "training")
    held_out = next(name for name in map(str, range(100)) if partition(name) == "validation")
    write(tmp_path / f"{reader}-1-1.wav", np.full(3 * SAMPLE_RATE, 0.5, np.float32))
    write(tmp_path / f"{held_out}-1-1.wav", np.full(3 * SAMPLE_RATE, 0.9, np.float32))
    data = TrainingData(settings(folder, data={"speech_folders": (str(tmp_path),), "speech_share": 0.4}), LABELS)
    counts = drawn(data)
    cuts = [label for clip, label in data.order if clip == SPEECH]
    assert {data.labels[label] for label in cuts} == {UNKNOWN}
    assert len(cuts) == round(0.4 * counts[UNKNOWN])
    heard = {round(float(row.max()), 2) for audio, *_ in (data[n] for n in range(len(data))) for row in audio}
    assert 0.5 in heard
    assert 0.9 not in heard


def test_made_words_are_a_share_of_unknown(folder):
    data = TrainingData(settings(folder, data={"made_words_share": 0.4}), LABELS)
    made = [label for clip, label in data.order if clip == PSEUDO_WORD]
    assert {data.labels[label] for label in made} == {UNKNOWN}
    assert len(made) == round(0.4 * drawn(data)[UNKNOWN])
    known = {round(0.1 + n / 1000, 3) for n in range(20)}
    heard = [np.unique(np.round(row.numpy(), 3)) for audio, *_ in (data[n] for n in range(len(data))) for row in audio]
    assert sum(len(set(values.tolist()) - known - {0.0}) > 3 for values in heard) >= len(made) // 2  # faded, joined


def test_further_folders_of_words_are_unknown(folder, tmp_path):
    """Their words stay apart from those of the data set, even where they have the same name."""
    names = [f"{n}.wav" for n in range(30) if partition(str(n)) == "training"][:4]
    for name in names:
        write(tmp_path / "wake" / "yes" / name, np.full(SAMPLE_RATE, 0.4, np.float32))
    data = TrainingData(settings(folder, data={"unknown_folders": (str(tmp_path / "wake"),)}), LABELS)
    assert len(data.pool.by_word["wake/yes"]) == 4
    assert data.pool.label_of["wake/yes"] == UNKNOWN
    assert drawn(data)["yes"] == 15


def test_evaluation_clips_are_one_second_and_the_tail(folder):
    clips = corpus.evaluation_clips(folder, LABELS, "validation")
    audio, labels = evaluation_tensors(clips, LABELS, 3200)
    assert audio.shape == (len(clips), CLIP_SAMPLES + 3200)
    assert not audio[:, CLIP_SAMPLES:].any()
    assert [LABELS[label] for label in labels] == [clip.label for clip in clips]
    words = labels < 3
    assert torch.allclose(audio[words, :CLIP_SAMPLES], torch.tensor(0.9), atol=1e-3)


def test_a_word_without_clips_is_named(folder):
    config = Config(data=DataConfig(folder=str(folder), task="yes,zebra"))
    with pytest.raises(ConfigError, match="zebra"):
        TrainingData(config, task_labels("yes,zebra"))


@pytest.mark.parametrize("rows", [0, 2])
def test_sequences_stand_beside_the_clips(folder, rows):
    data = TrainingData(settings(folder, stream=StreamConfig(rows=rows, seconds=3.0)), LABELS)
    for audio, labels, *_, sequences, targets, words in (data[0], data[1]):
        assert (audio.shape[0], labels.shape) == (BATCH, (BATCH,))
        assert (len(sequences), len(targets)) == (rows, rows)
        assert (sequences.dtype, targets.dtype) == (torch.float32, torch.int64)
        assert sequences.numel() == targets.numel() * 320
        assert words.shape[1:] == (3,)
        assert set(words[:, 0].tolist()) <= set(range(rows))


def test_validation_sequences_are_always_the_same_and_of_held_out_sound(folder):
    # Clips of constant value: those of validation speakers are at 0.9, and nothing else is added to them.
    stream = StreamConfig(rows=1, seconds=3.0, speech_share=0.0, joined_share=0.0, noise_share=0.0)
    data = TrainingData(settings(folder, stream=stream), LABELS)
    first = data.validation_sequences()
    data.set_epoch(5)
    assert equal([first], [data.validation_sequences()])
    sound, targets, _ = first
    assert len(sound) == len(targets) > 1
    heard = sound[sound != 0].unique()
    assert heard.numpy() == pytest.approx(0.9, abs=1e-3)


def test_clips_alone_have_no_validation_sequences(plain):
    assert [len(part) for part in plain.validation_sequences()] == [0, 0, 0]


def test_a_stream_without_unknown_and_silence_is_refused(folder):
    with pytest.raises(ConfigError, match=r"stream\.rows"):
        TrainingData(settings(folder, stream=StreamConfig(rows=1)), ("yes", "no"))


def test_twins_are_the_same_clips_recorded_twice(folder):
    augment = replace(QUIET, twins=True, gain_probability=1.0, gain_low_db=-6.0, gain_high_db=-6.0)
    data = TrainingData(settings(folder, augment), LABELS)
    audio, target, *_ = data[0]
    assert len(audio) == len(target) == BATCH
    assert data.clips_per_batch == BATCH // 2
    assert torch.equal(target[: BATCH // 2], target[BATCH // 2 :])
    assert audio.abs().max() > 0
    assert torch.equal(audio[: BATCH // 2], audio[BATCH // 2 :])  # with one level there is but one way to record


@pytest.mark.parametrize("processes", [1, 2])
def test_parts_of_a_batch_make_the_whole(folder, processes):
    augment = replace(QUIET, twins=True, gain_probability=1.0)
    stream = StreamConfig(rows=4, seconds=3.0, speech_share=0.0, joined_share=0.0, noise_share=0.0)
    chosen = settings(folder, augment, stream=stream)
    *whole, words = TrainingData(chosen, LABELS)[1]
    parts = [TrainingData(chosen, LABELS, process=p, processes=processes)[1] for p in range(processes)]
    for process, (*tensors, own_words) in enumerate(parts):
        for tensor, of_all in zip(tensors, whole, strict=True):
            assert torch.equal(tensor, of_all[process::processes])
        first, second = tensors[1].chunk(2)
        assert torch.equal(first, second)  # twins have stayed together
        there = [[row * processes + process, *rest] for row, *rest in own_words.tolist()]
        assert there == [word for word in words.tolist() if word[0] % processes == process]
    assert sum(len(part[-1]) for part in parts) == len(words) > 2


def test_twins_differ_in_level(folder):
    augment = replace(QUIET, twins=True, gain_probability=1.0)
    audio = TrainingData(settings(folder, augment), LABELS)[0][0]
    first, second = audio.chunk(2)
    rows = (first.abs().amax(1) > 0) & (first.abs().amax(1) < 1) & (second.abs().amax(1) < 1)
    gains = second.norm(dim=1)[rows] / first.norm(dim=1)[rows]
    assert len(gains) > 0
    assert (gains - 1).abs().min() > 1e-3
    torch.testing.assert_close(first[rows] * gains[:, None], second[rows], rtol=1e-4, atol=1e-6)
