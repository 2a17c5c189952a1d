"""`speechrnn listen`: what it prints, writes, runs and says, from files, from a pipe, and from a real device.

Most tests need no trained model: theirs takes a tone of 1 kHz for "yes", and one of 2 kHz for "no".
"""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import speechrnn
from speechrnn import audio
from speechrnn.cli import feeds
from tests.support.command_line import ROOT, run
from tests.support.sound_server import sound_server, tone, wait
from tests.support.tone_model import RATE, WORDS, clip, listening, model, pcm, rows, said  # noqa: F401  # fixtures among them

# from files and pipes


def test_words_in_a_file_are_reported_as_the_spotter_finds_them(model, clip):
    shown = run("listen", clip, "--model", model)
    assert shown.returncode == 0
    spotter = speechrnn.Spotter(speechrnn.load(model))
    expected = spotter.process(audio.load(clip)) + spotter.finish()
    assert [d.label for d in expected] == ["yes", "no", "yes"]
    assert rows(shown.stdout) == [(round(d.time, 2), d.label, round(d.probability, 3)) for d in expected]
    assert shown.stderr == "speechrnn: listened for 3.6 s, 3 detections: yes 2, no 1\n"


def test_a_word_at_the_very_end_is_heard_out(model, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(WORDS["yes"], 0.085, RATE), RATE)  # the last of five blocks is cut short
    assert [label for _, label, _ in rows(run("listen", path, "-m", model, "-t", "0.75").stdout)] == ["yes"]


def test_input_is_another_way_to_name_a_file(model, clip):
    assert run("listen", "--input", clip, "-m", model).stdout == run("listen", clip, "-m", model).stdout != ""


@pytest.mark.parametrize("rate", [16_000, 48_000, 44_100])
def test_pcm_on_stdin_is_heard_at_its_rate(model, rate):
    arguments = [] if rate == 16_000 else ["--rate", rate]
    shown = run("listen", "-", "-m", model, *arguments, stdin=pcm(said("yes", "no", rate=rate)))
    assert [label for _, label, _ in rows(shown.stdout)] == ["yes", "no"]
    assert [time for time, _, _ in rows(shown.stdout)] == pytest.approx([0.7, 1.7], abs=0.05)
    assert "listened for 2.6 s, 2 detections: yes 1, no 1" in shown.stderr


def test_pcm_that_ends_amid_a_sample_is_heard_up_to_there(model):
    shown = run("listen", "-", "-m", model, stdin=pcm(said("yes")) + b"\x01")
    assert (shown.returncode, len(rows(shown.stdout))) == (0, 1)


def test_jsonl_comes_line_by_line_while_sound_comes(model):
    with listening("-", "-m", model, "--format", "jsonl", stdin=subprocess.PIPE) as process:
        for word in ("yes", "no"):
            before = len(process.lines)
            process.stdin.write(pcm(said(word)))
            process.stdin.flush()
            wait(lambda before=before: len(process.lines) > before, f"{word} isn't reported")
        records = [json.loads(line) for line in process.lines]
        assert [record["label"] for record in records] == ["yes", "no"]
        assert all(set(record) == {"time", "label", "probability"} for record in records)
        assert process.poll() is None


def test_ctrl_c_ends_it_with_a_summary(model):
    with listening("-", "-m", model, stdin=subprocess.PIPE) as process:
        process.stdin.write(pcm(said("yes", "yes")))
        process.stdin.flush()
        wait(lambda: len(process.lines) == 2, "nothing is reported")
        assert process.end() == 0
        (note,) = process.notes  # both words are out by 1.8 s; how much of the rest was heard is up to the moment
        summary = re.fullmatch(r"speechrnn: listened for (\d\.\d) s, 2 detections: yes 2", note)
        assert summary
        assert 1.7 <= float(summary[1]) <= 2.6


def test_a_file_in_real_time_takes_as_long_as_it_is(model, clip, monkeypatch):
    """By a clock that goes on only while the command sleeps."""
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr(feeds, "time", clock)
    assert len(rows(run("listen", clip, "-m", model, "--realtime").stdout)) == 3
    assert now[0] - 100.0 == pytest.approx(soundfile.info(clip).duration)


def test_only_the_words_that_were_asked_for(model, clip):
    shown = run("listen", clip, "-m", model, "--words", "no")
    assert [label for _, label, _ in rows(shown.stdout)] == ["no"]


def test_a_threshold_for_one_word_and_one_for_all(model, tmp_path):
    path = tmp_path / "clip.wav"
    noise = np.random.default_rng(0).standard_normal(len(said("yes", "no"))) * 0.1
    soundfile.write(path, said("yes", "no") + noise, RATE)

    def heard(*arguments):
        return [label for _, label, _ in rows(run("listen", path, "-m", model, *arguments).stdout)]

    assert heard("-t", "0.95") == []
    assert heard("-t", "0.95", "-t", "yes=0.5") == ["yes"]
    assert heard("-t", "0.5") == ["yes", "no"]


# what is run and what is kept


def test_a_program_is_run_for_each_word(model, clip, tmp_path):
    script, out = tmp_path / "note it.py", tmp_path / "out.txt"
    script.write_text(
        "import os, sys\nline = ' '.join(os.environ['SPEECHRNN_' + n] for n in ('LABEL', 'TIME', 'PROBABILITY'))\n"
        "open(sys.argv[1], 'a').write(line + '\\n')\nprint('not on stdout')"
    )
    with listening(clip, "-m", model, "--exec", f"{sys.executable} '{script}' {out}") as process:
        assert process.wait(60) == 0
        wait(lambda: out.exists() and len(out.read_text().splitlines()) == 3, "not run three times")
        # Three programs write to one pipe, text and line end apart: lines may run into each other.
        wait(lambda: " ".join(process.notes).count("not on stdout") == 3, "its output is lost")
        found = sorted(
            (float(time), label, float(p)) for label, time, p in map(str.split, out.read_text().splitlines())
        )
        assert [(round(t, 2), label, round(p, 3)) for t, label, p in found] == rows("\n".join(process.lines))


def test_a_program_that_takes_long_holds_nothing_up(model, clip, tmp_path):
    with (
        (tmp_path / "notes").open("wb") as notes,
        listening(clip, "-m", model, "--exec", "sleep 60", stderr=notes) as process,
    ):
        assert process.wait(50) == 0  # before any of the programs can have ended


def test_what_was_heard_is_kept_with_a_label_track(model, clip, tmp_path):
    shown = run("listen", clip, "-m", model, "--save", tmp_path / "heard.wav")
    kept, rate = soundfile.read(tmp_path / "heard.wav", dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(kept, soundfile.read(clip, dtype="int16")[0])
    labels = [line.split("\t") for line in (tmp_path / "heard.txt").read_text().splitlines()]
    assert [(round(float(start), 2), label) for start, _, label in labels] == [r[:2] for r in rows(shown.stdout)]
    assert all(start == stop for start, stop, _ in labels)


@pytest.mark.slow
def test_a_recording_is_whole_even_if_the_program_is_killed(model, tmp_path):
    sound = said("yes")
    with listening("-", "-m", model, "--save", tmp_path / "heard.wav", stdin=subprocess.PIPE) as process:
        process.stdin.write(pcm(sound))
        process.stdin.flush()
        wait(lambda: process.lines, "nothing is heard")
        wait(lambda: (tmp_path / "heard.wav").stat().st_size == 44 + 2 * len(sound), "not written as it comes")
        process.kill()
        process.wait()
    assert len(audio.load(tmp_path / "heard.wav")) == len(sound)
    assert (tmp_path / "heard.txt").read_text().endswith("\tyes\n")


# what can't be done


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.wav"], "missing.wav"),
        (["-"], "is empty"),
        (["CLIP", "--input", "CLIP"], "--input"),
        (["CLIP", "--device", "1"], "--device"),
        (["CLIP", "--rate", "8000"], "--rate"),
        (["CLIP", "--threshold", "loud"], "--threshold"),
        (["CLIP", "--threshold", "1.5"], "threshold"),
        (["CLIP", "--words", "yes,banana"], "banana"),
        (["CLIP", "--words", ","], "words"),
        (["CLIP", "--exec", "no-such-program --loud"], "no-such-program"),
        (["CLIP", "--exec", "'open"], "quotes"),
        (["CLIP", "--exec", ""], "--exec"),
        (["CLIP", "--save", "heard.mp3"], ".wav"),
        (["CLIP", "--save", "no/such/folder/heard.wav"], "no/such/folder"),
        (["CLIP", "--save", "FOLDER.wav"], "directory"),
        (["CLIP", "--save", "CLIP"], "would replace what is read"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(model, clip, tmp_path, arguments, told):
    (tmp_path / "folder.wav").mkdir()
    before = clip.read_bytes()
    names = {"CLIP": clip, "FOLDER.wav": tmp_path / "folder.wav"}
    shown = run("listen", "-m", model, *(names.get(argument, argument) for argument in arguments))
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert told in shown.stderr
    assert clip.read_bytes() == before


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--format", "xml"], ["--loud"]])
def test_a_wrong_option_is_exit_code_2_with_usage(arguments):
    shown = run("listen", "-", *arguments)
    assert shown.returncode == 2
    assert shown.stderr.startswith("Usage: ")


def test_help_shows_an_example():
    assert "Example: speechrnn listen " in " ".join(run("listen", "--help").stdout.split())


# on a terminal


def test_a_terminal_shows_level_words_and_detections(model, clip):
    master, slave = pty.openpty()
    with listening(clip, "-m", model, stdout=slave, env={"TERM": "xterm", "COLUMNS": "100"}) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(master, 65_536):
                shown += piece
        os.close(master)
        assert process.wait(30) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    last = plain.split("clip.wav: ")[-1]
    assert last.startswith("4 s\r\n")
    assert "dBFS" in last
    assert "exact zeros" not in last
    found = [line.split() for line in last.splitlines() if line.startswith("     ")]
    assert [label for _, label, _ in found] == ["yes", "no", "yes"]
    assert {"yes", "no"} <= {line.split()[0] for line in last.splitlines() if "0.00" in line}  # their bars


# from a real device


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    with sound_server(tmp_path_factory.mktemp("pulse")) as server:
        yield server


def test_words_that_are_played_are_heard_in_order(sink, tmp_path):
    """The shipped model and real recordings, through a real sound card's way."""
    import soxr

    words = ["yes", "no", "left", "stop", "go"]
    gap = np.zeros(RATE, np.float32)
    clips = [audio.load(ROOT / "examples" / f"{word}.wav") for word in words]
    sound = np.concatenate([gap, *(part for clip in clips for part in (clip, gap))])
    with listening("--device", "pulse", "--save", tmp_path / "heard.wav", env=sink.environment) as process:
        wait(lambda: (tmp_path / "heard.wav").exists(), "it doesn't listen")
        sink.play(soxr.resample(sound, RATE, 48_000), tmp_path).wait(30)
        wait(lambda: len(process.lines) >= len(words), f"heard {process.lines}, said {process.notes}", 5)
        assert process.end() == 0
    assert [label for _, label, _ in rows("\n".join(process.lines))] == words
    assert process.notes[-1].endswith("5 detections: yes 1, no 1, left 1, stop 1, go 1; 0 blocks dropped")


def test_a_device_that_is_unplugged_is_told_and_listened_to_again(sink, model, tmp_path):
    with listening("--device", "pulse", "-m", model, "--format", "jsonl", env=sink.environment) as process:
        wait(lambda: any("muted" in note for note in process.notes), "silence isn't told")
        sink.play(said("yes", rate=48_000), tmp_path).wait(30)
        wait(lambda: len(process.lines) == 1, "yes isn't heard")
        sink.unplug()
        wait(lambda: any("pulse: lost" in note for note in process.notes), "the loss isn't told")
        sink.plug()
        wait(lambda: any("pulse: is back" in note for note in process.notes), "the return isn't told")
        sink.play(said("no", rate=48_000), tmp_path).wait(30)
        wait(lambda: len(process.lines) == 2, "no isn't heard")
        assert process.end() == 0
    records = [json.loads(line) for line in process.lines]
    assert [record["label"] for record in records] == ["yes", "no"]
    assert records[0]["time"] < records[1]["time"]
    assert "2 detections: yes 1, no 1; " in process.notes[-1]


def test_an_unknown_device_is_one_line(sink, model):
    with listening("--device", "piano", "-m", model, env=sink.environment) as process:
        assert process.wait(30) == 2
        wait(lambda: process.notes, "it says nothing")
    assert len(process.notes) == 1
    assert "pulse" in process.notes[0]


def processor_seconds(pid):
    """Processor time of each thread so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = {task.name: (task / "stat").read_text().rpartition(")")[2].split() for task in tasks(pid)}
    return {thread: (int(values[11]) + int(values[12])) / ticks for thread, values in fields.items()}


def tasks(pid):
    return list(Path(f"/proc/{pid}/task").iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_no_thread_spins_while_nothing_is_said(sink, model):
    """A thread that waits in a loop takes all the processor that it can get; these take next to nothing."""
    with listening("--device", "pulse", "-m", model, env=sink.environment) as process:
        wait(lambda: any("muted" in note for note in process.notes), "it doesn't listen")
        before, start = processor_seconds(process.pid), time.monotonic()
        time.sleep(4)
        after, seconds = processor_seconds(process.pid), time.monotonic() - start
        shares = {thread: (after[thread] - before.get(thread, 0.0)) / seconds for thread in after}
        assert process.end() == 0
    assert max(shares.values()) < 0.15, shares
    assert sum(shares.values()) < 0.2, shares
