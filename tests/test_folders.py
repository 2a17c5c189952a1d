"""Who reads a folder takes all the sound in it, and names what it leaves out and why."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from data_scripts.check import check
from speechrnn import audio, folders, media
from speechrnn.errors import AudioError
from speechrnn.evaluation import corpus, recordings
from speechrnn.evaluation.endpoints import takes
from speechrnn.training.audio_pool import AudioPool, LongClips
from speechrnn.training.config import DataConfig
from speechrnn.training.data import clip_tensor
from tests.support.command_line import run
from tests.support.formats import encoded, noise, tone

posix = pytest.mark.skipif(os.name != "posix", reason="needs links that anybody may make")


@pytest.fixture(autouse=True)
def _nothing_said_yet():
    folders._warned.clear()


@pytest.fixture
def without_ffmpeg(monkeypatch):
    """For this process and those that it starts."""
    monkeypatch.setattr(media, "available", lambda: False)


def write(path, seconds=0.5, frequency=440):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(tone(frequency, seconds=seconds)))
    return path


def names(folder):
    return [path.relative_to(folder.path).as_posix() for path in folder.files]


def left_out(folder):
    return {why: [path.relative_to(folder.path).as_posix() for path in paths] for why, paths in folder.left_out.items()}


# What is taken


@pytest.mark.parametrize("ending", [".oga", ".wave", ".aifc", ".rf64", ".WAV", ".mp3", ".snd", ".w64", ".bwf"])
def test_endings_of_what_libsndfile_reads(tmp_path, ending, without_ffmpeg):
    write(tmp_path / f"clip{ending}")
    assert names(folders.search(tmp_path)) == [f"clip{ending}"]


@pytest.mark.parametrize("ending", [".m4a", ".webm", ".mp4", ".mov", ".mkv", ".aac", ".wma", ".amr", ".3gp", ".M4A"])
def test_endings_of_what_ffmpeg_reads(tmp_path, monkeypatch, ending):
    write(tmp_path / f"clip{ending}")
    monkeypatch.setattr(media, "available", lambda: True)
    assert names(folders.search(tmp_path)) == [f"clip{ending}"]
    monkeypatch.setattr(media, "available", lambda: False)
    found = folders.search(tmp_path)
    assert names(found) == []
    assert left_out(found) == {folders.NEEDS_FFMPEG: [f"clip{ending}"]}
    assert media.HOW_TO_READ in found.remarks()[0]


def test_there_is_one_list_of_endings(tmp_path):
    """`check`, training and `classify` look for the same files."""
    assert audio.SUFFIXES is folders.SUFFIXES
    assert media.SUFFIXES < audio.SUFFIXES
    endings = sorted(audio.SUFFIXES - media.SUFFIXES)
    for number, ending in enumerate(endings):
        write(tmp_path / "yes" / f"{number:08x}_nohash_0{ending}", frequency=300 + 10 * number)
    report = check(tmp_path, seconds=0.5)
    assert report.files == len(endings)
    assert len(corpus.word_clips(tmp_path, ("yes",), None)) == len(endings)
    assert len(list(recordings.sound_files([tmp_path], held_out=False))) == len(endings)


def test_hidden_files_and_companions_of_macos_are_left_out(tmp_path):
    for name in ("yes.wav", "._yes.wav", ".hidden.flac", ".Trash/old.wav", "sub/._no.wav", "sub/no.wav", "._notes"):
        write(tmp_path / name)
    found = folders.search(tmp_path)
    assert names(found) == ["sub/no.wav", "yes.wav"]
    assert left_out(found) == {folders.HIDDEN: [".Trash/old.wav", "._yes.wav", ".hidden.flac", "sub/._no.wav"]}
    assert found.unread() == 0


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    write(tmp_path / ".sounds" / "yes.wav")
    assert names(folders.search(tmp_path / ".sounds")) == ["yes.wav"]


def test_what_plainly_is_no_sound_is_not_mentioned(tmp_path):
    write(tmp_path / "yes.wav")
    for name in (
        "yes.txt",
        "README.md",
        "LICENSE",
        "list.csv",
        "a.json",
        "x.TextGrid",
        "validation_list.txt",
        "Makefile",
    ):
        (tmp_path / name).write_text("RIGHTS: none" if name == "LICENSE" else "text")
    assert folders.search(tmp_path).remarks() == []


def test_what_begins_like_sound_and_what_says_no_rate_are_named(tmp_path):
    for name in ("yes.wav", "take1", "take2.wav.bak", "old.dat", "dump.raw", "dump.pcm"):
        write(tmp_path / name)
    found = folders.search(tmp_path)
    assert names(found) == ["yes.wav"]
    assert left_out(found) == {
        folders.MISNAMED: ["old.dat", "take1", "take2.wav.bak"], folders.NO_HEADER: ["dump.pcm", "dump.raw"]
    }  # fmt: skip
    assert found.unread() == 5


def test_many_files_are_one_line(tmp_path):
    write(tmp_path / "yes.wav")
    for number in range(500):
        (tmp_path / f"._{number:03}.wav").write_bytes(b"\0\5\x16\7")
    assert folders.search(tmp_path).remarks() == [
        f"{tmp_path}: 500 left out, such as ._000.wav: hidden, or left by macOS beside a sound"
    ]


@posix
def test_remarks_are_one_line_whatever_the_names_are(tmp_path):
    folder = tmp_path / "two\nlines"
    write(folder / "yes.wav")
    write(folder / ".a\x1b[31m\n.wav")
    (remark,) = folders.search(folder).remarks()
    assert remark.isprintable()


@posix
def test_links_to_folders_are_followed_once(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(inside / "b" / "yes.wav")
    write(outside / "deep" / "no.wav")
    (inside / "a_link").symlink_to(inside / "b")  # sorts before what it stands for
    (inside / "elsewhere").symlink_to(outside)
    (inside / "again").symlink_to(outside / "deep")
    (outside / "back").symlink_to(inside)
    (inside / "b" / "up").symlink_to(tmp_path)
    (inside / "self").symlink_to(inside / "self")
    found = folders.search(inside)
    assert [path.name for path in found.files] == ["no.wav", "yes.wav"]
    assert (inside / "b" / "yes.wav") in found.files
    assert left_out(found) == {folders.LINK_UPWARDS: ["b/up"]}


@posix
def test_links_to_files_are_read_and_broken_ones_named(tmp_path):
    write(tmp_path / "yes.wav")
    (tmp_path / "link.wav").symlink_to(tmp_path / "yes.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    os.mkfifo(tmp_path / "pipe")
    found = folders.search(tmp_path)
    assert names(found) == ["link.wav", "yes.wav"]
    assert left_out(found) == {folders.BROKEN_LINK: ["gone.wav"]}


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    write(tmp_path / "yes.wav")
    write(tmp_path / "closed" / "no.wav")
    scan = os.scandir

    def refuse(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = folders.search(tmp_path)
    assert names(found) == ["yes.wav"]
    assert left_out(found) == {folders.CLOSED: ["closed"]}


def test_lists_are_sorted_by_path_and_as_they_were_before_links_were_followed(tmp_path):
    for name in ("b/2.wav", "b/10.wav", "a.wav", "a/1.flac", "B/1.ogg", "c.d/x.mp3"):
        write(tmp_path / name)
    expected = sorted(path for path in tmp_path.rglob("*") if path.suffix in audio.SUFFIXES)
    assert audio.sound_files(tmp_path) == expected


@pytest.mark.parametrize("name", ["none", "x" * 300, "clip.wav"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    write(tmp_path / "clip.wav")
    with pytest.raises(AudioError, match="no such folder"):
        folders.search(tmp_path / name)


def test_a_library_says_it_in_the_log_and_only_once(tmp_path, caplog):
    write(tmp_path / "yes.wav")
    write(tmp_path / "._yes.wav")
    for _ in range(3):
        assert len(audio.sound_files(tmp_path)) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"speechrnn: {tmp_path}: 1 left out, such as ._yes.wav: {folders.HIDDEN}"
    ]


# The command line


def test_classify_reads_every_ending_and_names_what_it_leaves_out(tmp_path):
    for name in ("a.oga", "b.wave", "c.aifc", "._a.oga"):
        write(tmp_path / name)
    (tmp_path / "a.txt").write_text("0\t1\tyes\n")
    shown = run("classify", tmp_path, "--format", "jsonl")
    assert shown.returncode == 0
    assert [json.loads(line)["path"] for line in shown.stdout.splitlines()] == [
        str(tmp_path / name) for name in ("a.oga", "b.wave", "c.aifc")
    ]
    assert shown.stderr == f"speechrnn: {tmp_path}: 1 left out, such as ._a.oga: {folders.HIDDEN}\n"


@pytest.mark.parametrize("verb", ["classify", "spot"])
def test_the_exit_code_tells_of_sound_that_could_not_be_used(tmp_path, verb):
    write(tmp_path / "yes.wav")
    write(tmp_path / "take")
    shown = run(verb, tmp_path)
    assert shown.returncode == 1
    assert shown.stderr == f"speechrnn: {tmp_path}: 1 left out, such as take: {folders.MISNAMED}\n"
    (tmp_path / "yes.wav").unlink()
    shown = run(verb, tmp_path)
    assert shown.returncode == 2
    assert "holds no sound files" in shown.stderr


def test_without_ffmpeg_a_folder_of_m4a_is_one_line(tmp_path):
    write(tmp_path / "yes.wav")
    for number in range(20):
        (tmp_path / f"{number:02}.m4a").write_bytes(b"\0\0\0\x1cftypM4A ")
    program = (
        "import shutil, sys, importlib.util as util; real = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'av' else real(name, *rest)\n"
        "sys.modules['av'] = None; shutil.which = lambda name: None\n"
        "from speechrnn.cli import run; run()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, "classify", tmp_path], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert shown.stdout.startswith(str(tmp_path / "yes.wav"))
    assert shown.stderr == f"speechrnn: {tmp_path}: 20 left out, such as 00.m4a: {folders.NEEDS_FFMPEG}\n"


def test_a_glob_reads_the_folders_that_it_names(tmp_path):
    write(tmp_path / "takes" / "1" / "yes.wav")
    write(tmp_path / "takes" / "no.wav")
    shown = run("classify", tmp_path / "takes" / "*", "--format", "csv")
    assert shown.returncode == 0
    assert shown.stdout.count(".wav") == 2


def test_help_says_what_is_taken_from_folders():
    shown = " ".join(run("classify", "--help").stdout.split())
    assert "left out" in shown
    assert "PyAV (the extra named media) or ffmpeg" in shown


# Training and its tools


def test_words_that_are_not_labels_and_files_beside_the_words_are_named(tmp_path, caplog):
    for name in ("yes/a.wav", "bed/b.wav", "bed/c.wav", "stray.wav", "_background_noise_/rain.wav"):
        write(tmp_path / name)
    clips = corpus.word_clips(tmp_path, ("yes",), None)
    assert [clip.path.name for clip in clips] == ["a.wav"]
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"speechrnn: {tmp_path}: 1 left out, such as stray.wav: in no folder of a word",
        f"speechrnn: {tmp_path}: 2 left out, such as bed/b.wav: their words are none of the labels",
    ]


def test_companions_of_macos_are_no_clips(tmp_path):
    write(tmp_path / "yes" / "a.wav")
    (tmp_path / "yes" / "._a.wav").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X".ljust(4096, b"\0"))
    clips = AudioPool(DataConfig(folder=str(tmp_path)), ("yes",), "training")
    assert len(clips.clips) == 1


def spoken(count, seconds, pause=0.6):
    """As many bursts of noise, each as long as that, with pauses in between, over a faint hiss."""
    hiss = noise(round((count * (seconds + pause) + pause) * 16_000), 0.001)
    for number in range(count):
        start = round((pause + number * (seconds + pause)) * 16_000)
        hiss[start : start + round(seconds * 16_000)] += noise(round(seconds * 16_000), 0.3, seed=number)
    return hiss


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_takes_are_counted_by_energy(count):
    assert takes(spoken(count, 0.5)) == count


def test_what_is_one_stretch_is_one_take():
    assert takes(spoken(1, 3.0)) == 1
    assert takes(noise(100_000)) == 1
    assert takes(np.zeros(50_000, np.float32)) == 1
    assert takes(tone(440, seconds=2)) == 1
    assert takes(noise(100)) == 1
    click = spoken(1, 0.5)
    click[-4000:-3900] += 0.5
    assert takes(click) == 1


@pytest.fixture
def words(tmp_path):
    """Ordinary clips, a long one, and twenty takes in a file."""
    for name in ("a", "b"):
        for word in ("yes", "no"):
            write(tmp_path / word / f"{name}.wav", seconds=1.0)
    soundfile.write(tmp_path / "yes" / "long.wav", spoken(1, 1.4, 0.1), 16_000)
    soundfile.write(tmp_path / "yes" / "takes.wav", spoken(20, 0.5), 16_000)
    return tmp_path


def test_training_says_of_which_clips_it_learns_a_second(words, caplog, monkeypatch):
    monkeypatch.setattr(corpus, "partition", lambda path: "training")
    sounds = AudioPool(DataConfig(folder=str(words)), ("yes", "no"), "training")
    assert len(sounds.clips) == 6
    assert [record.getMessage() for record in caplog.records] == [
        f"speechrnn: clips longer than a second: 2, such as {words / 'yes' / 'long.wav'} (1.6 s): "
        "only the loudest second of each is trained on",
        f"speechrnn: clips of several takes: 1, such as {words / 'yes' / 'takes.wav'} (about 20 in 22.6 s): "
        "only one of each is trained on: cut each take into a file of its own",
    ]


def test_validation_says_so_too(words, caplog):
    clip_tensor([words / "yes" / "a.wav", words / "yes" / "takes.wav", tone(440)], 1600)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("validated on" in line for line in said)


def test_nothing_is_said_of_clips_of_a_second(tmp_path, caplog):
    long_clips = LongClips()
    for rate in (8_000, 16_000, 44_100, 48_000):
        path = tmp_path / f"{rate}.wav"
        path.write_bytes(encoded(tone(440, rate), rate))
        assert long_clips.second_of(path).shape == (16_000,)
    long_clips.warn("trained on")
    assert caplog.records == []


def test_check_names_takes_what_is_joined_and_what_ffmpeg_is_needed_for(words, caplog, without_ffmpeg):
    joined = encoded(tone(700, seconds=0.5), format="FLAC") + encoded(tone(900, seconds=0.5), format="FLAC")
    (words / "no" / "joined.flac").write_bytes(joined)
    (words / "no" / "deeper").mkdir()
    write(words / "no" / "deeper" / "c.rf64", seconds=1.0, frequency=500)
    write(words / "no" / "d.m4a")
    write(words / "stray.wav")
    report = check(words)
    assert report.files == 8
    assert {problem.where: problem.detail for problem in report.of_kind("wrong-length")} == {
        "yes/long.wav": "1.600 s", "yes/takes.wav": "22.600 s, about 20 takes"
    }  # fmt: skip
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"speechrnn: {words}: 1 left out, such as no/d.m4a: {folders.NEEDS_FFMPEG}",
        f"speechrnn: {words}: 1 left out, such as stray.wav: in no folder of a word",
    ]


def test_check_finds_what_training_would_refuse(words):
    data = encoded(noise(16_000), format="OGG", subtype="VORBIS")
    (words / "no" / "cut.ogg").write_bytes(data[:-300])
    (problem,) = check(words).of_kind("unreadable")
    assert problem.where == "no/cut.ogg"
    assert problem.detail.startswith("is cut off (at least ")
