"""Names that no file has or that lead nowhere, as every path of every command; and files that are named by data."""

import importlib
import os
import pkgutil
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

import benchmarks
import data_scripts
import export
import export.web
import research
import speechrnn.training
from data_scripts import synthesize
from research import compare
from speechrnn.cli import VERBS
from speechrnn.errors import ConfigError, InputError
from speechrnn.evaluation.partition import partition
from speechrnn.model import shipped
from speechrnn.names import file_name
from speechrnn.programs import report_errors
from speechrnn.training import config

ROOT = Path(__file__).parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has other rules for names")


def commands():
    """Every command line that there is: its name, and what typer makes of it."""
    for verb in VERBS:
        name = verb.replace("-", "_")
        yield f"speechrnn {verb}", getattr(importlib.import_module(f"speechrnn.cli.{name}"), name)
    for package in (export, export.web, benchmarks, data_scripts, research, speechrnn.training):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            file = Path(package.__path__[0]) / f"{module.name.rpartition('.')[2]}.py"
            if (
                file.is_file()
                and file.name != "__main__.py"
                and '__name__ == "__main__"' in file.read_text(encoding="utf-8")
            ):
                yield module.name, importlib.import_module(module.name).main


def made(function):
    app = typer.Typer()
    app.command()(function)
    return app, typer.main.get_command(app).params


FUNCTIONS = dict(commands())
# What takes files but isn't declared as a path, and what a command gets besides the name that is tried.
OTHER_PATHS = {("speechrnn classify", "paths"), ("speechrnn spot", "paths"), ("speechrnn listen", "source")}
GIVEN = {
    "recordings": "clip.wav", "clip": "clip.wav", "paths": "clip.wav", "source": "clip.wav", "sound": "clip.wav",
    "config": ROOT / "configs" / "gru-12.toml", "plan_file": ROOT / "research" / "short.toml",
    "model_path": shipped("gru-12-small"), "model": shipped("gru-12-small"), "checkpoint_path": "missing.pt",
    "checkpoints": "missing.pt", "folder": "words", "models": "words", "words": "yes", "dest": "out", "name": "v0.01",
    "out": "out.png", "output": "out.wav", "picture": "out.png",
}  # fmt: skip


def is_path(name, parameter):
    return (name, parameter.name) in OTHER_PATHS or getattr(parameter.type, "name", "") in ("path", "file")


def places():
    for name, function in FUNCTIONS.items():
        for parameter in made(function)[1]:
            if is_path(name, parameter):
                yield name, parameter.name


PLACES = list(places())


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder to stand in, with a clip, a folder of clips, and names that lead nowhere."""
    monkeypatch.chdir(tmp_path)
    for word in ("yes", "_background_noise_"):
        (tmp_path / "words" / word).mkdir(parents=True)
        soundfile.write(tmp_path / "words" / word / "clip.wav", np.zeros(16_000), 16_000)
    shutil.copy(tmp_path / "words" / "yes" / "clip.wav", tmp_path / "clip.wav")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def arguments(name, parameters, tried, bad):
    given = []
    for parameter in parameters:
        value = bad if parameter.name == tried else GIVEN.get(parameter.name)
        if parameter.param_type_name == "argument" and (parameter.name == tried or parameter.required):
            given.append(str(value))
        elif parameter.name == tried or parameter.required:
            given += [parameter.opts[0], str(value)]
    return given


def tree(folder):
    return sorted(str(path) for path in folder.rglob("*"))


BAD = {"long": "n" * 300, "loop": "loop/x", "below a file": "clip.wav/x"}


@POSIX
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("name", "parameter"), PLACES, ids=[f"{name}-{of}" for name, of in PLACES])
def test_a_name_that_leads_nowhere_is_one_line(work, name, parameter, kind):
    app, parameters = made(FUNCTIONS[name])
    before = tree(work)
    shown = CliRunner().invoke(app, arguments(name, parameters, parameter, BAD[kind]))
    assert isinstance(shown.exception, SystemExit | None), repr(shown.exception)
    assert shown.exit_code == 2, shown.output
    if name not in ("data_scripts.validate", "speechrnn validate"):  # it says of each of its parts why it is left out
        assert len(shown.stderr.splitlines()) == 1, shown.stderr
    assert "Traceback" not in shown.stderr
    assert tree(work) == before


def test_every_command_with_a_path_is_tried():
    assert len(PLACES) > 50
    assert {name for name, _ in PLACES} >= set(FUNCTIONS) - {
        "speechrnn devices",
        "benchmarks.front_ends",
        "research.table",
    }


@POSIX
def test_a_name_that_is_not_utf_8_is_a_name_like_others(work):
    names = (os.fsdecode(b"\xff%d.wav" % number) for number in range(100))
    name = next(name for name in names if partition(name) == "training")
    shutil.copy("clip.wav", work / "words" / "yes" / name)
    app, _ = made(FUNCTIONS["data_scripts.suspects"])
    shown = CliRunner().invoke(app, ["words", "list.txt", "--below", "1.0", "--model", "gru-12-small"])
    assert shown.exit_code == 0, shown.output
    assert (work / "list.txt").read_bytes().splitlines()[-1] == b"yes/" + os.fsencode(name)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "words/yes"), "words/yes: can't be used (No such file"),
        (PermissionError(13, "Permission denied", b"yes.wav"), "yes.wav: can't be used (Permission denied): check"),
        (OSError(28, "No space left on device"), "a file: can't be used (No space left on device): make room there"),
        (OSError("as libraries raise it"), "a file: can't be used (as libraries raise it): check"),
        (ValueError("embedded null byte"), "a name has a NUL in it"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys, error, said):
    """As of a folder that has vanished while it was read."""
    with pytest.raises(typer.Exit) as ended, report_errors():
        raise error
    assert ended.value.exit_code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert said in shown


def test_an_error_of_ours_is_still_one():
    with pytest.raises(ValueError, match="not enough"), report_errors():
        raise ValueError("not enough values to unpack")


# files that are named by data

GOOD_WORDS = ["yes", "café", "rock'n'roll", "go-on", "two words", "a.b", "コン", "console", "com10", "n" * 200]
BAD_WORDS = [
    *("", " ", ".", "..", "../../x", "/etc/x", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "a\rb", "\x1b[31m", "\udcff"),
    *(".hidden", " yes", "yes ", "yes.", "CON", "nul", "Aux.wav", "com1", "LPT¹", "what?", "a*", 'a"b', "a|b", "<a>"),
    *("n" * 201, "é" * 101, "\u2028", "\u202e"),
]


@pytest.mark.parametrize("word", GOOD_WORDS)
def test_a_word_is_the_name_of_a_file(tmp_path, word):
    (tmp_path / f"{file_name(word, 'WORD')}.wav").write_bytes(b"")
    assert [path.stem for path in tmp_path.iterdir()] == [word]


@pytest.mark.parametrize("word", BAD_WORDS, ids=ascii)
def test_a_word_that_no_file_can_have_is_named(word):
    with pytest.raises(InputError, match=r"^WORD ") as caught:
        file_name(word, "WORD")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("takes", [0, 2])
@pytest.mark.parametrize("word", ["../../x", "/tmp/x", "a\nb", "CON", "n" * 201, "..", " ", "Yes"], ids=ascii)
def test_a_word_is_refused_before_any_is_spoken(work, monkeypatch, word, takes):
    def spoken(*_):
        raise AssertionError("something was spoken")

    monkeypatch.setattr(synthesize, "speak", spoken)
    before = tree(work.parent)
    app, _ = made(synthesize.main)
    shown = CliRunner().invoke(app, ["out", "yes", word, "--takes", str(takes)])
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1), shown.output
    assert "WORD" in shown.stderr
    assert tree(work.parent) == before


def test_a_word_of_a_list_is_refused_too(work):
    (work / "list.txt").write_text("yes\n../../x\n", encoding="utf-8")
    app, _ = made(synthesize.main)
    shown = CliRunner().invoke(app, ["out", "--list", "list.txt"])
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1), shown.output
    assert "../../x" in shown.stderr
    assert not (work / "out").exists()


def test_a_word_that_is_silent_is_named(monkeypatch):
    monkeypatch.setattr(synthesize, "_run", lambda *_: np.zeros(100, np.float32))
    with pytest.raises(InputError, match=r"can't say 'yes' .* silent"):
        synthesize.speak("yes", "en-us", 150, 50)


@pytest.mark.parametrize("name", ["../../x", "/x", "", "a\\b", "CON", "n" * 300, "a\nb"], ids=ascii)
def test_the_name_of_a_run_stays_in_its_folder(name):
    with pytest.raises(ConfigError, match=r"^name: "):
        config.from_dict({"name": name})


PLAN = """
config = "configs/gru-12.toml"
seeds = [1]
[[variants]]
name = "as it is"
"""


@pytest.mark.parametrize(
    "text",
    [
        PLAN.replace("as it is", "a | b"),
        PLAN.replace("as it is", "a\\nb"),
        PLAN.replace('"as it is"', "3"),
        PLAN.replace("as it is", ""),
        PLAN + 'set = "train.epochs=3"',
        PLAN + "set = [3]",
        PLAN.replace("[1]", '["x"]'),
        PLAN.replace("[1]", "[true]"),
        PLAN.replace("[1]", "[1, -1]"),
        PLAN.replace("[1]", "1"),
        PLAN.replace("[1]", f"[{'9' * 5000}]"),
        PLAN.replace('"configs/gru-12.toml"', "3"),
        PLAN.replace("configs/gru-12.toml", "n" * 300),
        PLAN.replace("configs/gru-12.toml", "a\\u0000b"),
        "config = 'x'\nseeds = [1]\nvariants = 3",
        "config = 'x'\nseeds = [1]\nvariants = [3]",
        "x = " + "[" * 5000,
    ],
)
def test_an_odd_plan_is_one_line(work, monkeypatch, text):
    monkeypatch.chdir(ROOT)
    (work / "plan.toml").write_text(text, encoding="utf-8")
    shown = CliRunner().invoke(compare.app, [str(work / "plan.toml"), str(work / "out.md")])
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1), (shown.output, shown.exception)
    assert not (work / "out.md").exists()


@pytest.mark.parametrize(
    "kept", ["[" * 100_000, '{"x": 3}', "[]", '{"x": ' + "9" * 5000 + "}", "\0"], ids=lambda t: t[:9]
)
def test_odd_figures_beside_a_plan_are_named(tmp_path, kept):
    (tmp_path / "out.json").write_text(kept)
    with pytest.raises(InputError, match=r"out\.json: can't be used"):
        compare.read_figures(tmp_path / "out.json")
