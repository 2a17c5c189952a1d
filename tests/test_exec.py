"""Programs that `listen --exec` runs: how many, with what, and what becomes of them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import run
from test_listen import clip, listening, model, pcm, said  # noqa: F401  # fixtures among them
from test_microphone import wait

from speechrnn.cli import outputs
from speechrnn.decision import Detection
from speechrnn.errors import InputError

POSIX = pytest.mark.skipif(os.name != "posix", reason="reads /proc")
TELL = "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps([sys.argv[2:], os.environ['SPEECHRNN_LABEL']]))"


def detection(label="yes", time=1.25, probability=0.875):
    return Detection(label=label, time=time, probability=probability)


def program(*arguments):
    return outputs.Program(shlex.join(map(str, arguments)))


def children(state=None):
    """Processes that this one has started and not yet reaped, by their state."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and state in (None, fields[0]):
            found.append(int(stat.parent.name))
    return found


@POSIX
def test_a_program_that_ends_is_no_zombie_though_no_further_word_comes():
    before = set(children("Z"))
    started = program("true")
    for _ in range(3):
        started.start(detection())
    wait(lambda: not set(children()) - before, "processes are left")
    time.sleep(0.2)
    assert set(children("Z")) <= before


@POSIX
def test_so_many_run_at_once_and_the_rest_is_counted_in_a_line(tmp_path, capsys):
    before = set(children())
    started = program("sh", "-c", f"while [ ! -e {tmp_path}/end ]; do sleep 0.05; done")
    for _ in range(outputs.MOST_RUNNING + 3):
        started.start(detection())
    assert len(set(children()) - before) == outputs.MOST_RUNNING
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == f"speechrnn: --exec sh: {outputs.MOST_RUNNING} of them still run: 3 words left out so far"
    (tmp_path / "end").touch()
    wait(lambda: not set(children()) - before, "they don't end")
    started.start(detection())  # there is room again
    wait(lambda: not set(children()) - before, "it doesn't end")
    assert capsys.readouterr().err == ""


def test_what_was_heard_stands_in_the_arguments(tmp_path):
    out = tmp_path / "out.json"
    words = ["{label}", "at {time} s", "{probability}", '{{"a": {{}}}}', "$SPEECHRNN_LABEL; *"]
    program(sys.executable, "-c", TELL, out, *words).start(detection("go {time} $(id)"))
    wait(lambda: out.exists() and out.read_text().endswith("]"), "it isn't run")
    expected = ["go {time} $(id)", "at 1.250 s", "0.875000", '{"a": {}}', "$SPEECHRNN_LABEL; *"]
    assert json.loads(out.read_text()) == [expected, "go {time} $(id)"]


@pytest.mark.parametrize(
    "command",
    [
        "echo {word}",
        "echo {}",
        "echo {0}",
        "echo {label.__class__}",
        "echo {label[0]}",
        "echo {label!r}",
        "echo {label:>9}",
        "echo {label:{time}}",
        "echo {",
        "echo }",
        "echo '{\"label\": 1}'",
        "{label}",
        "/usr/bin/{label} x",
    ],
)
def test_what_is_no_placeholder_is_refused_in_one_line(command):
    with pytest.raises(InputError) as caught:
        outputs.Program(command)
    assert str(caught.value).startswith(f"--exec {command}: ")
    assert "{label}, {time}, {probability}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_refuses_it_before_it_listens(model, clip):  # noqa: F811
    shown = run("listen", clip, "-m", model, "--exec", "echo {word}")
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("label", ["a\0b", "a\ud800b"])
def test_a_label_that_no_program_can_be_given_is_told_and_takes_no_room(capsys, label):
    started = program("true", "{label}")
    for _ in range(outputs.MOST_RUNNING + 1):
        started.start(detection(label))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == outputs.MOST_RUNNING + 1
    assert all(line.startswith("speechrnn: --exec true: can't be run") for line in lines)


@POSIX
def test_what_runs_at_the_end_is_left_to_finish_also_by_ctrl_c(model, tmp_path):  # noqa: F811
    script = f"touch {tmp_path}/started; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; touch {tmp_path}/finished"
    command = shlex.join(["sh", "-c", script])
    notes = (tmp_path / "notes").open("wb")
    how = {"stdin": subprocess.PIPE, "stderr": notes, "process_group": 0}
    with notes, listening("-", "-m", model, "--exec", command, **how) as process:
        process.stdin.write(pcm(said("yes")))
        process.stdin.flush()
        wait(lambda: (tmp_path / "started").exists(), "it isn't run")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it, to all that run in the foreground
        assert process.wait(30) == 0
    assert not (tmp_path / "finished").exists()
    (tmp_path / "go").touch()
    wait((tmp_path / "finished").exists, "it was ended")


def test_help_shows_an_example_with_a_label():
    assert "notify-send {label}" in " ".join(run("listen", "--help").stdout.split())
