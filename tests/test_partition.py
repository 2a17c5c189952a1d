"""The published split: real lines of the published lists, and what the rule promises about speakers."""

import pytest

from speechrnn.errors import ConfigError, InputError
from speechrnn.evaluation.partition import listed_partitions, partition, partition_lists, speaker

# Lines of validation_list.txt and testing_list.txt as they come with Speech Commands v0.01; the last group are clips
# of v0.01 that are on neither.
PUBLISHED = {
    "validation": [
        "cat/8b775397_nohash_0.wav",
        "cat/2643992f_nohash_1.wav",
        "cat/060cd039_nohash_2.wav",
        "go/6a27a9bf_nohash_0.wav",
        "go/dca2797e_nohash_4.wav",
        "four/605ed0ff_nohash_0.wav",
        "four/bdb26021_nohash_1.wav",
    ],
    "testing": [
        "cat/2aa787cf_nohash_0.wav",
        "cat/ffa76c4a_nohash_0.wav",
        "cat/24ad3ebe_nohash_1.wav",
        "go/0ea0e2f4_nohash_1.wav",
        "go/af405b69_nohash_0.wav",
        "four/27c30960_nohash_0.wav",
        "four/1cb788bc_nohash_0.wav",
    ],
    "training": [
        "cat/004ae714_nohash_0.wav",
        "cat/00b01445_nohash_0.wav",
        "cat/0132a06d_nohash_0.wav",
    ],
}


@pytest.mark.parametrize(("name", "clip"), [(name, clip) for name, clips in PUBLISHED.items() for clip in clips])
def test_agrees_with_the_published_lists(name, clip):
    assert partition(clip) == name


def test_speaker_is_what_stands_before_nohash():
    assert speaker("yes/0137b3f4_nohash_2.wav") == "0137b3f4"
    assert speaker("/some/where/anna_nohash_0.flac") == "anna"
    assert speaker("clip.wav") == "clip.wav"


def test_all_clips_of_a_speaker_stay_together():
    for who in (f"{number:08x}" for number in range(0, 2**32, 2**26)):
        clips = [
            f"{word}/{who}_nohash_{n}.{kind}" for word in ("yes", "no") for n in range(3) for kind in ("wav", "ogg")
        ]
        assert len({partition(clip) for clip in clips}) == 1


def test_shares_are_those_asked_for():
    names = [f"{number:08x}_nohash_0.wav" for number in range(4000)]
    found = [partition(name, validation_percent=20, testing_percent=30) for name in names]
    assert found.count("validation") / 4000 == pytest.approx(0.2, abs=0.025)
    assert found.count("testing") / 4000 == pytest.approx(0.3, abs=0.025)
    assert {partition(name, validation_percent=0, testing_percent=0) for name in names} == {"training"}


def test_a_larger_validation_share_takes_no_clip_out_of_validation():
    names = [f"{number:08x}_nohash_0.wav" for number in range(1000)]
    held = {name for name in names if partition(name) == "validation"}
    assert held < {name for name in names if partition(name, validation_percent=20) == "validation"}


@pytest.mark.parametrize(("validation", "testing"), [(-1, 10), (10, -1), (60, 60)])
def test_refuses_impossible_shares(validation, testing):
    with pytest.raises(ConfigError, match="100 or less together"):
        partition("a_nohash_0.wav", validation_percent=validation, testing_percent=testing)


def test_reads_the_lists_of_a_folder(tmp_path):
    (tmp_path / "validation_list.txt").write_text("yes/a_nohash_0.wav\r\n\n./no/b_nohash_1.wav\n")
    (tmp_path / "testing_list.txt").write_text("no\\c_nohash_0.wav\nyes/a_nohash_0.wav\n")
    assert partition_lists(tmp_path) == {
        "validation": ["yes/a_nohash_0.wav", "no/b_nohash_1.wav"],
        "testing": ["no/c_nohash_0.wav", "yes/a_nohash_0.wav"],
    }
    # A clip on both lists is kept away from training and from tuning.
    assert listed_partitions(tmp_path) == {
        "yes/a_nohash_0.wav": "testing",
        "no/b_nohash_1.wav": "validation",
        "no/c_nohash_0.wav": "testing",
    }


def test_a_folder_without_lists_has_none(tmp_path):
    assert listed_partitions(tmp_path) == {}


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "testing_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"testing_list\.txt"):
        listed_partitions(tmp_path)
