"""What reaches a terminal, a line of text or a label track is one line that does nothing, whatever a name holds."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechrnn import audio, microphone
from speechrnn.__main__ import main
from speechrnn.cli import spot
from speechrnn.errors import InputError
from speechrnn.model import Model, shipped
from speechrnn.text import label_fault, printable
from tests.support.command_line import ROOT, command, run

YES = ROOT / "examples" / "yes.wav"
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
SHOWN = {  # a name, and what is shown of it
    "plain.wav": "plain.wav",
    "Käse, 日本語\u3000👩‍🚀.wav": "Käse, 日本語\u3000👩‍🚀.wav",
    "a\\b.wav": "a\\b.wav",
    "a\nyes 1.000": r"a\nyes 1.000",
    "\x1b[2J\x1b]0;mine\x07.wav": r"\x1b[2J\x1b]0;mine\x07.wav",
    "\x9b31m\x7f.wav": r"\x9b31m\x7f.wav",
    "\u202evaw.exe": r"\u202evaw.exe",
    "a\u2028b\u2029c\x85d": r"a\u2028b\u2029c\x85d",
    "caf\udce9.wav": r"caf\udce9.wav",
    "a\rb\tc\0d": r"a\rb\tc\x00d",
}
NAMES = ["a\nb.wav", "\x1b[31mred.wav", "[red]a.wav", "[].wav", ":smile:.wav", "\u202ea.wav", "\x9b31m.wav"]
MARKS = ["\x1b[31m", "\u202e", "\x9b"]  # of which none may reach a terminal


@pytest.mark.parametrize(("name", "shown"), SHOWN.items(), ids=map(ascii, SHOWN))
def test_a_name_is_shown_in_one_line(name, shown):
    assert printable(name) == shown
    assert printable(shown) == shown


@given(st.text(st.characters()))
def test_whatever_is_printable_is_one_line_and_can_be_encoded(text):
    shown = printable(text)
    assert len((shown + ".").splitlines()) == 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    shown.encode()
    kept = "".join(letter if "\ud800" <= letter <= "\udfff" else printable(letter) for letter in text)
    assert printable(text, surrogates=True) == kept


def test_an_error_of_ours_is_one_line():
    assert str(InputError("a\nb: \x1b[31m no such file")) == r"a\nb: \x1b[31m no such file"


def test_sound_and_devices_are_called_by_printable_names(monkeypatch):
    assert audio.source_name("a\n\x1b.wav") == r"a\n\x1b.wav"
    assert audio.source_name("") == "''"
    found = {"index": 0, "name": "Mic \x1b[31m", "hostapi": 0, "default_samplerate": 48000.0, "max_input_channels": 1}
    library = SimpleNamespace(
        query_hostapis=lambda: [{"name": "ALSA"}],
        query_devices=lambda: [found],
        default=SimpleNamespace(device=(0, 0)),
    )
    monkeypatch.setattr(microphone, "_library", lambda: library)
    assert [device.name for device in microphone.devices()] == [r"Mic \x1b[31m"]


# the command


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(*arguments):
    """The command in this process, where somebody looks."""
    out, err = Terminal(), Terminal()
    environment = {"TERM": "xterm-256color", "COLUMNS": "300", "NO_COLOR": "1"}
    with (
        mock.patch.object(sys, "argv", ["speechrnn", *map(str, arguments)]),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return SimpleNamespace(returncode=ended.value.code, stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Clips with such names, in a folder."""
    if os.name == "nt":
        pytest.skip("Windows allows no such names")
    folder = tmp_path_factory.mktemp("odd")
    for name in NAMES:
        shutil.copy(YES, folder / name)
    return folder


@pytest.mark.parametrize("verb", ["classify", "spot"])
def test_a_table_has_a_line_for_each_file(verb, odd):
    shown = run(verb, *(odd / name for name in NAMES))
    lines = shown.stdout.split("\n")
    assert [printable(str(odd / name)) for name in NAMES] == [line[: line.index(".wav") + 4] for line in lines[:-1]]
    assert lines[-1] == ""
    assert printable(shown.stdout) == "\\n".join(lines)


def test_a_table_on_a_terminal_shows_names_as_they_are(odd):
    shown = on_terminal("classify", odd)
    assert shown.returncode == 0
    assert all(printable(name) in shown.stdout for name in NAMES)
    assert not any(mark in shown.stdout for mark in MARKS)
    assert shown.stdout.count("yes") == len(NAMES)


def test_a_bar_on_a_terminal_shows_names_as_they_are(odd):
    for name in NAMES:
        shown = on_terminal("spot", odd / name)
        assert shown.returncode == 0
        assert printable(name) in shown.stderr
        assert printable(name) in shown.stdout
        assert not any(mark in shown.stderr + shown.stdout for mark in MARKS)


@pytest.mark.parametrize("verb", ["classify", "spot"])
def test_csv_and_json_are_exact(verb, odd):
    paths = [str(odd / name) for name in NAMES]
    rows = list(csv.reader(io.StringIO(run(verb, *paths, "-f", "csv").stdout, newline="")))
    assert [row[0] for row in rows[1:]] == paths
    text = run(verb, *paths, "-f", "jsonl").stdout
    assert text.isascii()
    assert [json.loads(line)["path"] for line in text.splitlines()] == paths


@pytest.mark.parametrize("verb", ["classify", "spot"])
def test_csv_on_a_terminal_does_nothing_to_it(verb, odd):
    shown = on_terminal(verb, odd, "-f", "csv").stdout
    assert "\x1b" not in shown
    assert shown.count("\n") == 1 + len(NAMES)


@POSIX
@pytest.mark.parametrize("name", ["a\nb.wav", "\x1b]0;mine\x07.wav", "\u202ea.wav", "caf\udce9.wav", "[/red].wav"])
@pytest.mark.parametrize("verb", [["classify"], ["spot"], ["listen"], ["info"], ["classify", YES, "--model"], ["plot"]])
def test_a_message_names_a_missing_file_in_one_line(verb, name, tmp_path):
    shown = run(*verb, tmp_path / name)
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1)
    assert printable(name) in shown.stderr
    assert printable(shown.stderr[:-1]) == shown.stderr[:-1]


@POSIX
def test_info_shows_a_card_as_it_is(tmp_path):
    proto = onnx.load(shipped("gru-12-small"))
    values = json.loads(proto.metadata_props[0].value)
    values |= {"name": "[red]", "training_data": ["[/red]", ":smile:"], "figures": {"[red]": "[/red]"}}
    proto.metadata_props[0].value = json.dumps(values)
    path = tmp_path / "[red]\x1b[31m.onnx"
    onnx.save(proto, path)
    shown = on_terminal("info", path).stdout
    for text in (r"[red]\x1b[31m.onnx", "[/red]", ":smile:", "[red]: [/red]"):
        assert text in shown
    assert not any(mark in shown for mark in MARKS)
    exact = on_terminal("info", path, "--json").stdout
    assert exact.isascii()
    assert json.loads(exact)["training_data"] == values["training_data"]


# tracks and subtitles


labels = st.text(st.characters(), min_size=1, max_size=20).filter(lambda text: not label_fault(text))


@given(st.lists(labels, min_size=1, max_size=4))
def test_no_label_forges_a_line(names):
    heard = [
        ("x.wav", SimpleNamespace(label=name, time=1.0 + i, probability=0.9, peak=0.95)) for i, name in enumerate(names)
    ]

    def written(format):
        file = io.StringIO(newline="")
        spot.WRITERS[format](iter(heard), file)
        return file.getvalue()

    track = written(spot.Format.audacity).splitlines()
    assert [line.split("\t")[2:] for line in track] == [[name] for name in names]
    subtitles = written(spot.Format.srt).split("\n\n")
    assert [block.splitlines()[2:] for block in subtitles[:-1]] == [[name] for name in names]
    assert written(spot.Format.srt).count("-->") == written(spot.Format.vtt).count("-->") == len(names)
    assert len(written(spot.Format.table).splitlines()) == len(names)
    assert [row[2] for row in csv.reader(io.StringIO(written(spot.Format.csv), newline=""))][1:] == names


def test_a_label_is_no_markup_in_a_subtitle():
    file = io.StringIO()
    heard = SimpleNamespace(label="<b>rock & roll</b>", time=1.0, probability=0.9, peak=0.95)
    spot.WRITERS[spot.Format.vtt](iter([("x.wav", heard)]), file)
    assert "\n&lt;b&gt;rock &amp; roll&lt;/b&gt;\n" in file.getvalue()


# what libraries print

NOISY = """
import ctypes, os, sys
import speechrnn.model
session = speechrnn.model.session
def noisy(content):
    library = ctypes.CDLL(None)
    library.puts(b"noise of a library")
    library.fflush(None)
    os.write(1, b"more of it")
    return session(content)
speechrnn.model.session = noisy
"""


@POSIX
def test_what_a_library_prints_is_not_among_the_results():
    argv = ["speechrnn", "classify", str(YES), "--format", "jsonl"]
    program = f"{NOISY}\nsys.argv = {argv!r}\nfrom speechrnn.__main__ import main\nmain()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == command(*argv[1:]).stdout
    assert json.loads(done.stdout)["label"] == Model().classify(YES).label


@POSIX
def test_the_library_leaves_standard_output_as_it_is():
    program = f"{NOISY}\nimport speechrnn\nspeechrnn.load()\nos.write(1, b'results')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "noise of a library\nmore of itresults")
