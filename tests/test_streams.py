"""Standard streams that are closed, full or can't hold a name, and Ctrl-C at any moment: no traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
CLIP = str(ROOT / "examples" / "yes.wav")
SPEECHRNN = [sys.executable, "-m", "speechrnn"]
VERBS = {
    "classify": ["classify", CLIP],
    "classify, as JSON": ["classify", CLIP, "--format", "json"],
    "spot": ["spot", CLIP],
    "listen": ["listen", CLIP],
    "listen, as JSON": ["listen", CLIP, "--format", "jsonl"],
    "info": ["info"],
    "score": ["score", CLIP, "--no-labels"],
    "devices": ["devices", "--json"],
    "--help": ["--help"],
    "--version": ["--version"],
}


def run(arguments, how="", **options):
    """In a shell, which can close streams."""
    argv = ["sh", "-c", f'"$@" {how}', "sh", *SPEECHRNN, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(argv, env=environment, capture_output=True, timeout=120, **options)


def one_line(done):
    lines = done.stderr.decode(errors="replace").splitlines()
    assert len(lines) == 1, done.stderr.decode()
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_results_that_cannot_go_anywhere_are_told_in_one_line(verb):
    closed, full = run(VERBS[verb], ">&-"), run(VERBS[verb], ">/dev/full")
    assert (closed.returncode, full.returncode) == (2, 2)
    assert "stdout: is closed" in one_line(closed)
    assert "stdout: can't be written (No space left" in one_line(full)


def test_both_streams_closed_is_an_exit_code():
    assert run(VERBS["classify"], ">&- 2>&-").returncode == 2


@pytest.mark.parametrize("verb", ["classify", "spot", "listen"])
def test_a_closed_stderr_changes_no_result(verb):
    assert run(VERBS[verb], "2>&-").stdout == run(VERBS[verb]).stdout != b""


@pytest.mark.parametrize("verb", ["classify", "spot", "listen"])
def test_a_closed_stdin_is_told_where_it_is_read(verb):
    done = run([verb, "-"], "<&-")
    assert done.returncode == 2
    assert "<stdin>" in one_line(done)


@pytest.mark.parametrize("verb", ["classify", "spot", "listen"])
def test_nobody_reading_is_no_error(verb):
    done = run(VERBS[verb], "| true")
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("name", ["żółć 😀.wav", os.fsdecode(b"caf\xe9.wav")], ids=["unicode", "no unicode"])
def test_a_name_that_the_encoding_cannot_hold_is_written_all_the_same(tmp_path, encoding, name):
    shutil.copy(CLIP, tmp_path / name)
    environment = {"PYTHONIOENCODING": encoding}
    for arguments in (["classify", "."], ["classify", ".", "-f", "csv"], ["spot", "."], ["score", ".", "--no-labels"]):
        done = run(arguments, cwd=tmp_path, env=environment)
        assert (done.returncode, done.stderr) == (0, b""), arguments
        assert done.stdout
    for verb in ("classify", "spot"):
        done = run([verb, ".", "--format", "jsonl"], cwd=tmp_path, env=environment)
        assert os.path.basename(json.loads(done.stdout.splitlines()[0])["path"]) == name
    missing = run(["classify", name + "x"], cwd=tmp_path, env=environment)
    assert missing.returncode == 2
    assert "no such file" in one_line(missing)


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


START = """
import signal, sys
from speechrnn import interrupts
interrupts.die()  # the first thing that main does; before it, Ctrl-C belongs to Python
sys.stderr.write("started\\n")
sys.stderr.flush()
from speechrnn.__main__ import main
main()
"""


def started(arguments):
    """A command that has begun its own first line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", START, *arguments], env=environment, **pipes)
    assert process.stderr.readline() == b"started\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [0, 50, 100, 150, 200, 300, 500])
@pytest.mark.parametrize("arguments", [["listen", "-"], ["classify", "-"], ["bench"]], ids=lambda value: value[0])
def test_an_interrupt_in_the_first_half_second_leaves_no_traceback(arguments, milliseconds):
    process = started(arguments)
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130, 0)  # while it starts; while it works; listen ends well
    assert (process.returncode == 0) <= (arguments[0] == "listen")
    assert len(err.splitlines()) <= 1, err.decode()
    assert out == b""


@pytest.mark.slow
def test_interrupts_one_after_the_other_end_listening_well(tmp_path):
    sound, rate = soundfile.read(CLIP)
    soundfile.write(tmp_path / "long.wav", sound, 2 * rate)  # is resampled
    saved = tmp_path / "saved.wav"
    process = started(["listen", str(tmp_path / "long.wav"), "--realtime", "--save", str(saved)])
    wait_for(lambda: saved.exists() and saved.stat().st_size > 8_000)
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [
        line for line in err.decode().splitlines() if not line.startswith(("speechrnn: listened", "speechrnn: --save"))
    ] == []
    assert soundfile.info(saved).frames > 0
