"""Folders of words in, lists of labelled clips out: the published parts, proportions and labels."""

import math

import numpy as np
import pytest
import soundfile

from speechrnn.audio import SAMPLE_RATE
from speechrnn.errors import AudioError, ConfigError
from speechrnn.evaluation import corpus
from speechrnn.evaluation.corpus import SILENCE, THIRTY_FIVE_WORDS, UNKNOWN, evaluation_clips, task_labels, word_clips
from speechrnn.evaluation.partition import partition, speaker

PARTS = ("training", "validation", "testing")
LABELS = task_labels("yes,no")


def write(path, sound):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, SAMPLE_RATE)


def speakers(part, count):
    """Names that the published rule puts into a partition."""
    names = (f"{number:08x}" for number in range(10_000))
    return [name for name in names if partition(f"{name}_nohash_0.wav") == part][:count]


CLIPS_OF = {"training": 24, "validation": 13, "testing": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`yes` and `no`, two other words and two background recordings; not a word of it is heard in these tests."""
    root = tmp_path_factory.mktemp("speech_commands")
    for word in ("yes", "no", "bed", "cat"):
        for part, count in CLIPS_OF.items():
            for name in speakers(part, count):
                write(root / word / f"{name}_nohash_0.wav", np.zeros(160, np.float32))
    for seed, seconds in enumerate((10, 3)):
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, seconds * SAMPLE_RATE)
        write(root / "_background_noise_" / f"noise{seed}.wav", noise)
    return root


@pytest.fixture
def small(tmp_path):
    """A folder without background noise, to be changed at will."""
    for word in ("yes", "no", "bed"):
        for name in ("anna", "berta", "carla"):
            write(tmp_path / word / f"{name}_nohash_0.wav", np.full(160, 0.1, np.float32))
    return tmp_path


def names(clips):
    return sorted(f"{clip.word}/{clip.path.name}" for clip in clips)


def of_label(clips, label):
    return [clip for clip in clips if clip.label == label]


def test_labels_of_the_standard_tasks():
    twelve, all_words = task_labels("12"), task_labels("35")
    assert set(twelve[:10]) == {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}
    assert twelve[10:] == (UNKNOWN, SILENCE)
    assert len(set(all_words)) == 35
    assert set(twelve[:10]) < set(all_words)
    assert not {UNKNOWN, SILENCE} & set(all_words)


def test_labels_of_any_words():
    assert task_labels(" cat, dog ,") == ("cat", "dog", UNKNOWN, SILENCE)
    assert task_labels("marvin") == ("marvin", UNKNOWN, SILENCE)


@pytest.mark.parametrize("task", ["", " , ", "cat,dog,cat", "cat,_unknown_", "_silence_"])
def test_a_task_without_different_words_is_refused(task):
    with pytest.raises(ConfigError, match="different words") as caught:
        task_labels(task)
    assert repr(task) in str(caught.value)


def test_without_lists_the_published_rule_parts_the_clips(folder):
    for part, count in CLIPS_OF.items():
        clips = word_clips(folder, LABELS, part)
        assert len(clips) == 4 * count
        assert {partition(clip.path) for clip in clips} == {part}


def test_no_speaker_is_in_two_partitions(folder):
    heard = [{speaker(clip.path) for clip in word_clips(folder, LABELS, part)} for part in PARTS]
    assert not heard[0] & heard[1]
    assert not heard[0] & heard[2]
    assert not heard[1] & heard[2]


def test_lists_of_the_folder_overrule_the_rule(small):
    (small / "validation_list.txt").write_text("yes/anna_nohash_0.wav\n")
    (small / "testing_list.txt").write_text("no/berta_nohash_0.wav\nbed/anna_nohash_0.wav\n")
    assert names(word_clips(small, LABELS, "validation")) == ["yes/anna_nohash_0.wav"]
    assert names(word_clips(small, LABELS, "testing")) == ["bed/anna_nohash_0.wav", "no/berta_nohash_0.wav"]
    assert len(word_clips(small, LABELS, "training")) == 9 - 3
    assert len(word_clips(small, LABELS, None)) == 9


def test_other_words_are_unknown(folder):
    clips = word_clips(folder, LABELS, "training")
    assert {(clip.word, clip.label) for clip in clips} == {
        ("yes", "yes"), ("no", "no"), ("bed", UNKNOWN), ("cat", UNKNOWN)
    }  # fmt: skip


def test_other_words_are_left_out_where_nothing_is_unknown(folder):
    clips = word_clips(folder, ("yes", "no"), "training")
    assert {clip.word for clip in clips} == {"yes", "no"}
    assert {clip.label for clip in evaluation_clips(folder, ("yes", "no"), "validation")} == {"yes", "no"}


def test_the_35_words_are_kept_and_nothing_else(tmp_path):
    for word in (*THIRTY_FIVE_WORDS, "computer", "_unknown_"):
        write(tmp_path / word / "anna_nohash_0.wav", np.zeros(160, np.float32))
    write(tmp_path / "_background_noise_" / "rain.wav", np.zeros(SAMPLE_RATE, np.float32))
    clips = evaluation_clips(tmp_path, task_labels("35"))
    assert sorted(clip.word for clip in clips) == sorted(THIRTY_FIVE_WORDS)
    assert all(clip.word == clip.label for clip in clips)


def test_validation_has_the_published_proportions(folder):
    """Every clip of the words; of other words and of noise a tenth of that number each, rounded up."""
    clips = evaluation_clips(folder, LABELS, "validation")
    tenth = math.ceil(0.1 * 2 * CLIPS_OF["validation"])
    assert {label: len(of_label(clips, label)) for label in LABELS} == {
        "yes": CLIPS_OF["validation"], "no": CLIPS_OF["validation"], UNKNOWN: tenth, SILENCE: tenth
    }  # fmt: skip
    assert tenth == 3
    unknown = of_label(clips, UNKNOWN)
    assert len({clip.path for clip in unknown}) == tenth
    assert {clip.word for clip in unknown} <= {"bed", "cat"}


def test_the_evaluation_is_the_same_every_time_and_another_with_another_seed(folder):
    first = evaluation_clips(folder, LABELS, "validation")
    assert evaluation_clips(folder, LABELS, "validation") == first
    other = evaluation_clips(folder, LABELS, "validation", seed=1)
    assert other != first
    assert of_label(other, "yes") == of_label(first, "yes")


def test_without_a_partition_every_clip_counts(folder):
    clips = evaluation_clips(folder, LABELS)
    each = sum(CLIPS_OF.values())
    assert len(of_label(clips, "yes")) == each
    assert len(of_label(clips, UNKNOWN)) == 2 * each


def test_validation_noise_is_from_the_last_fifth_of_a_recording(folder):
    recordings = corpus.noise_recordings(folder)
    cuts = corpus.silence_clips(recordings, 200, 0, "validation")
    length = {path: soundfile.info(path).duration for path in recordings}
    assert {cut.path for cut in cuts} == set(recordings)
    for cut in cuts:
        assert cut.start_seconds >= 0.8 * length[cut.path]
    # A recording of three seconds has only 0.6 s there; of the long one, whole seconds are cut.
    starts = [cut.start_seconds for cut in cuts if length[cut.path] == 10]
    assert max(starts) <= 9.0
    assert max(starts) - min(starts) > 0.8
    anywhere = corpus.silence_clips(recordings, 200, 0, None)
    assert min(cut.start_seconds for cut in anywhere) < 1.0


def test_noise_is_cut_where_it_says_at_levels_over_30_db(folder):
    recordings = corpus.noise_recordings(folder)
    cuts = corpus.silence_clips(recordings, 200, 0, None)
    for cut in cuts[:20]:
        recording, _ = soundfile.read(cut.path, dtype="float32")
        start = int(cut.start_seconds * SAMPLE_RATE)
        np.testing.assert_allclose(cut.sound(), cut.gain * recording[start : start + SAMPLE_RATE], atol=1e-6)
        assert len(cut.sound()) == SAMPLE_RATE
    gains = np.array([cut.gain for cut in cuts])
    assert 0.04 < (gains == 0).mean() < 0.17  # digital silence: one in ten
    levels = 20 * np.log10(gains[gains > 0])
    assert -30 <= levels.min() < -27
    assert -3 < levels.max() <= 0


def test_published_test_folders_are_taken_whole(tmp_path):
    """The test archive has its `_unknown_` and `_silence_` as folders, drawn already."""
    for word, count in {"yes": 20, "no": 20, UNKNOWN: 9, SILENCE: 7}.items():
        for n in range(count):
            write(tmp_path / word / f"{n:08x}_nohash_0.wav", np.zeros(160, np.float32))
    clips = evaluation_clips(tmp_path, LABELS)
    assert {label: len(of_label(clips, label)) for label in LABELS} == {"yes": 20, "no": 20, UNKNOWN: 9, SILENCE: 7}
    assert {clip.word for clip in of_label(clips, SILENCE)} == {SILENCE}
    testing = evaluation_clips(tmp_path, LABELS, "testing")
    drawn = [clip for clip in clips if partition(clip.path) == "testing"]
    assert sorted(clip.path for clip in testing) == sorted(clip.path for clip in drawn)


def test_without_background_noise_there_is_no_silence(small):
    clips = evaluation_clips(small, LABELS)
    assert {clip.label for clip in clips} == {"yes", "no", UNKNOWN}


def test_what_is_no_sound_or_in_no_word_folder_is_no_clip(small):
    (small / "README.md").write_text("about")
    (small / "yes" / "notes.txt").write_text("about")
    write(small / "loose.wav", np.zeros(160, np.float32))
    write(small / "yes" / "DORA_nohash_0.WAV", np.zeros(160, np.float32))
    write(small / "yes" / "emma_nohash_0.flac", np.zeros(160, np.float32))
    assert len(word_clips(small, LABELS, None)) == 9 + 2


@pytest.mark.parametrize("content", [None, "empty", "text"])
def test_a_folder_without_sound_is_named(tmp_path, content):
    folder = tmp_path / "data"
    if content:
        folder.mkdir()
    if content == "text":
        (folder / "readme.txt").write_text("no sound")
    with pytest.raises(AudioError) as caught:
        evaluation_clips(folder, LABELS, "validation")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_partition_without_clips_is_named(small):
    (small / "validation_list.txt").write_text("yes/anna_nohash_0.wav\n")
    with pytest.raises(AudioError, match="testing partition"):
        word_clips(small, LABELS, "testing")


def test_other_sound_of_one_speaker_stays_on_one_side(tmp_path):
    readers = [f"{number}-{chapter}-0001.flac" for number in range(60) for chapter in (7, 8, 9)]
    kept = [path.name for path in corpus.of_training(tmp_path / name for name in readers)]
    by_reader = {name.split("-")[0] for name in kept}
    assert len(kept) == 3 * len(by_reader)
    assert 0.65 < len(by_reader) / 60 < 0.95


def test_what_is_held_out_is_what_is_not_trained_on(tmp_path):
    recordings = [tmp_path / f"{number}-1-0001.flac" for number in range(60)]
    trained, held_out = list(corpus.of_training(recordings)), list(corpus.held_out(recordings))
    assert held_out
    assert sorted(trained + held_out) == sorted(recordings)


def test_two_qualities_of_one_recording_are_on_one_side(tmp_path):
    for number in range(60):
        both = [tmp_path / f"audio_{number}.wav", tmp_path / f"audio_{number}_hq.wav"]
        trained, held_out = list(corpus.of_training(both)), list(corpus.held_out(both))
        assert (trained, held_out) in ((both, []), ([], both[1:]))  # and what is counted is counted once
