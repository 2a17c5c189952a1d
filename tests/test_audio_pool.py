"""The audio of one partition: nothing that validation uses is trained on."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import ConfigError
from speechrnn.evaluation.corpus import UNKNOWN, task_labels
from speechrnn.evaluation.partition import partition
from speechrnn.training.audio_pool import CLIP_SAMPLES, AudioPool, Recordings, loudest_second
from speechrnn.training.config import DataConfig

LABELS = task_labels("yes,no")
TRAINED, KEPT_AWAY = 0.2, 0.6  # the level that tells where a sound is from


def write(path, sound):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(sound, np.float32), SAMPLE_RATE)


def level_of(name):
    return {"training": TRAINED, "validation": KEPT_AWAY}.get(partition(name), 0.9)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Words, further words, speech and noise: sound of training at one level, of validation at another."""
    root = tmp_path_factory.mktemp("sound")
    for word in ("yes", "no", "bed"):
        for number in range(40):
            name = f"{number:08x}_nohash_0.wav"
            write(root / "commands" / word / name, np.full(4000, level_of(name)))
    for other, sign in (("words/yes", 1), ("speech", 1), ("noise", -1)):
        for number in range(30):
            write(root / other / f"{number}-1-1.wav", np.full(20_000, sign * level_of(str(number))))
    background = np.full(10 * SAMPLE_RATE, TRAINED)
    background[8 * SAMPLE_RATE :] = KEPT_AWAY
    write(root / "commands" / "_background_noise_" / "rain.wav", background)
    return DataConfig(
        folder=str(root / "commands"),
        unknown_folders=(str(root / "words"),),
        speech_folders=(str(root / "speech"),),
        noise_folders=(str(root / "noise"),),
    )


@pytest.fixture(scope="module")
def parts(config):
    return {part: AudioPool(config, LABELS, part) for part in ("training", "validation")}


def levels(sounds):
    """The levels that occur in each kind of sound."""
    recordings = {"background": sounds.background, "noise": sounds.noise, "speech": sounds.speech}
    heard = {name: np.concatenate(recording.sounds) for name, recording in recordings.items()}
    heard |= {word: sounds.clips[rows] for word, rows in sounds.by_word.items()}
    return {name: {round(abs(float(v)), 2) for v in np.unique(sound) / 32768 if v} for name, sound in heard.items()}


def test_training_has_nothing_that_is_held_out(parts):
    found = levels(parts["training"])
    assert set(found) == {"yes", "no", "bed", "words/yes", "background", "noise", "speech"}
    assert all(heard == {TRAINED} for heard in found.values())


def test_kinds_of_other_words_are_told_apart_by_all_their_folders(config, tmp_path):
    for language, name in itertools.product(("da", "en"), range(20)):
        write(tmp_path / "letters" / language / "syllables" / f"{name}.wav", np.full(4000, TRAINED))
    others = AudioPool(replace(config, unknown_folders=(str(tmp_path / "letters"),)), LABELS, "training").others
    assert {"letters/da/syllables", "letters/en/syllables"} < set(others)


def test_more_words_are_trained_on_under_their_labels(config, parts, tmp_path):
    for word in ("yes", "town"):
        write(tmp_path / word / "0.wav", np.full(4000, TRAINED))
    more = replace(config, word_folders=(str(tmp_path),))
    trained, held_out = (AudioPool(more, LABELS, part) for part in ("training", "validation"))
    assert len(trained.by_word["yes"]) == len(parts["training"].by_word["yes"]) + 1
    assert trained.label_of["town"] == "_unknown_"
    assert "town" not in held_out.by_word


def test_other_words_of_the_folder_itself_can_count_for_more(config):
    shares = [
        dict(zip(sounds.others, sounds.other_probabilities, strict=True))
        for sounds in (AudioPool(replace(config, own_words_weight=weight), LABELS, "training") for weight in (1.0, 4.0))
    ]
    assert all(sum(part.values()) == pytest.approx(1.0) for part in shares)
    plain, weighted = (part["bed"] / part["words/yes"] for part in shares)
    assert weighted == pytest.approx(4.0 * plain)


def test_what_is_held_out_is_in_no_training(parts):
    found = levels(parts["validation"])
    assert found.keys() == levels(parts["training"]).keys()
    assert not any(TRAINED in heard for heard in found.values())
    assert all(found[word] == {KEPT_AWAY} for word in ("yes", "no", "bed", "background"))


def test_every_recording_is_in_one_of_the_parts(parts):
    for kind in ("noise", "speech"):
        assert sum(len(getattr(sounds, kind).sounds) for sounds in parts.values()) == 30
    assert sum(len(sounds.by_word["words/yes"]) for sounds in parts.values()) == 30
    assert sum(map(len, (s for sounds in parts.values() for s in sounds.background.sounds))) == 10 * SAMPLE_RATE


def test_rows_words_and_labels_fit_each_other(parts):
    for sounds in parts.values():
        assert sounds.clips.dtype == np.int16
        assert sounds.clips.shape[1] == CLIP_SAMPLES
        rows = sorted(row for rows in sounds.by_word.values() for row in rows)
        assert rows == list(range(len(sounds.clips)))
        assert sounds.label_of == {"yes": "yes", "no": "no", "bed": UNKNOWN, "words/yes": UNKNOWN}


def test_further_words_are_left_out_where_nothing_is_unknown(config):
    assert set(AudioPool(config, ("yes", "no"), "training").by_word) == {"yes", "no"}


def test_noise_is_of_both_kinds(parts):
    rng = np.random.default_rng(0)
    means = np.array([parts["training"].draw_noise(rng, 30_000).mean() for _ in range(60)])
    assert 0.25 < np.mean(means < 0) < 0.75  # noise of the further folder is below zero


def test_made_noise_is_a_third_kind_and_another_one_in_validation(config):
    made = {
        part: AudioPool(replace(config, made_noises=3), LABELS, part).synthetic_noise
        for part in ("training", "validation")
    }
    assert [len(recording.sounds) for recording in made.values()] == [3, 3]
    assert not any(np.array_equal(*pair) for pair in itertools.product(*(r.sounds for r in made.values())))
    sounds = AudioPool(replace(config, made_noises=3), LABELS, "training")
    drawn = [sounds.draw_noise(np.random.default_rng(seed), 1000) for seed in range(90)]
    assert 0.2 < np.mean([len(np.unique(piece)) > 1 for piece in drawn]) < 0.5  # the recordings here are constant


def test_made_words_are_new_clips(parts):
    for sounds in parts.values():
        rng = np.random.default_rng(0)
        made = [sounds.pseudo_word(rng) for _ in range(20)]
        assert all(word.shape == (CLIP_SAMPLES,) for word in made)
        known = {clip.tobytes() for clip in sounds.clips}
        assert not any((word * 32768).astype(np.int16).tobytes() in known for word in made)


def test_without_any_noise_there_is_none(config, tmp_path):
    for word in LABELS[:2]:
        write(tmp_path / word / "00000003_nohash_0.wav", np.zeros(100))
    sounds = AudioPool(DataConfig(folder=str(tmp_path)), LABELS, partition("00000003_nohash_0.wav"))
    assert sounds.draw_noise(np.random.default_rng(0), 100) is None
    assert not sounds.speech


def test_a_word_without_clips_of_the_part_is_named(config):
    with pytest.raises(ConfigError, match="validation clips of zebra"):
        AudioPool(config, task_labels("yes,zebra"), "validation")


def test_progress_is_told_for_every_file(config):
    told = []
    AudioPool(config, LABELS, "validation", lambda done, total: told.append((done, total)))
    assert (1, 1) in told  # the background recording
    assert all(1 <= done <= total for done, total in told)


def test_the_loudest_second_is_found():
    sound = np.zeros(3 * SAMPLE_RATE, np.float32)
    sound[20_000:36_000] = 0.5
    sound[0:1000] = 0.9  # louder, but short
    assert np.array_equal(loudest_second(sound), np.full(CLIP_SAMPLES, 0.5, np.float32))


@pytest.mark.parametrize("length", [1, 15_999, 16_000])
def test_a_short_sound_is_padded_at_its_end(length):
    sound = np.full(length, 0.3, np.float32)
    padded = loudest_second(sound)
    assert len(padded) == CLIP_SAMPLES
    assert np.array_equal(padded[:length], sound)
    assert not padded[length:].any()


def test_a_cut_is_a_piece_of_the_recording_and_a_short_one_is_repeated():
    rng = np.random.default_rng(0)
    ramp = np.arange(10_000, dtype=np.int16)
    for _ in range(20):
        cut = Recordings([ramp]).cut(rng, 500) * 32768
        assert np.array_equal(np.diff(cut), np.ones(499))
    repeated = Recordings([np.array([1, 2, 3], np.int16)]).cut(rng, 10) * 32768
    assert len(repeated) == 10
    assert set(np.diff(repeated)) == {1.0, -2.0}
