"""Where results go: laid out as the inputs are, nothing of somebody else's replaced, and never an input."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import typer

import speechrnn
from benchmarks import family
from data_scripts import hints, make_stream, suspects, synthesize, teacher, validate
from export import calibrate, quantize, to_c
from export.web import build as page
from research import draw_reach
from speechrnn.cli.calibrate import calibrate
from speechrnn.cli.export import export
from speechrnn.cli.mirror import mirrored
from speechrnn.cli.quantize import quantize
from speechrnn.cli.to_c import to_c
from speechrnn.errors import InputError
from speechrnn.training import average, config
from speechrnn.training.run_folder import RunFolder
from tests.support.command_line import ROOT, command, run
from tests.support.networks import recognizer, saved
from tests.support.tone_model import RATE, model, said  # noqa: F401  # model is a fixture


def record(path, *words, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, said(*words), RATE, **how)
    return path


def files(folder):
    """What is in a folder and below it, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(shown, *named):
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1), shown.stderr
    for name in named:
        assert str(name) in shown.stderr


def words_of(track):
    return [line.split("\t")[2] for line in track.read_text().splitlines()]


@pytest.fixture
def spot(model, tmp_path):
    (tmp_path / "out").mkdir()

    def spot(*arguments, format="audacity", out=tmp_path / "out"):
        return run("spot", *arguments, "-m", model, "-f", format, "-o", out)

    return spot


# a file for each recording


def test_recordings_of_one_name_are_told_apart_by_their_folders(spot, tmp_path):
    given = [record(tmp_path / folder / "rec.wav", word) for folder, word in (("a", "yes"), ("b", "no"))]
    assert spot(*given).returncode == 0
    assert sorted(files(tmp_path / "out")) == ["a/rec.txt", "b/rec.txt"]
    assert words_of(tmp_path / "out/a/rec.txt") == ["yes"]
    assert words_of(tmp_path / "out/b/rec.txt") == ["no"]


def test_recordings_of_one_name_and_other_endings_keep_them(spot, tmp_path):
    given = [record(tmp_path / "x.wav", "yes"), record(tmp_path / "x.flac", "no"), record(tmp_path / "y.wav", "no")]
    assert spot(*given).returncode == 0
    assert sorted(files(tmp_path / "out")) == ["x.flac.txt", "x.wav.txt", "y.txt"]
    assert words_of(tmp_path / "out/x.wav.txt") == ["yes"]


def test_the_tree_of_a_folder_is_mirrored(spot, tmp_path):
    for name in ("top.wav", "mon/rec.wav", "tue/rec.wav", "tue/late/rec.wav"):
        record(tmp_path / "in" / name, "yes")
    assert spot(tmp_path / "in", format="srt").returncode == 0
    expected = ["mon/rec.srt", "top.srt", "tue/late/rec.srt", "tue/rec.srt"]
    assert sorted(files(tmp_path / "out")) == expected


NAMES = {
    "alone": ([("/r/a/x.wav", None)], ["x"]),
    "as short as they differ": (
        [("/r/a/1/x.wav", None), ("/r/b/1/x.wav", None), ("/r/y.wav", None)],
        ["a/1/x", "b/1/x", "y"],
    ),
    "endings": ([("/r/x.wav", None), ("/r/x.flac", None)], ["x.wav", "x.flac"]),
    "folders and endings": (
        [("/r/a/x.wav", None), ("/r/a/x.flac", None), ("/r/b/x.wav", None)],
        ["a/x.wav", "a/x.flac", "b/x"],
    ),
    "a name that looks like an ending": (
        [("/r/x.wav", None), ("/r/x.flac", None), ("/r/x.wav.mp3", None)],
        ["x.wav", "x.flac", "x.wav.mp3"],
    ),
    "one folder": ([("/r/a/1/x.wav", "/r/a"), ("/r/a/x.wav", "/r/a")], ["1/x", "x"]),
    "two folders alike": ([("/r/a/1/x.wav", "/r/a"), ("/r/b/1/x.wav", "/r/b")], ["a/1/x", "b/1/x"]),
    "a folder and a file": ([("/r/a/x.wav", "/r/a"), ("/s/x.wav", None)], ["a/x", "s/x"]),
    "at the root": ([("/x.wav", None), ("/r/x.wav", None)], ["x", "r/x"]),
    "stdin": ([("-", None), ("/r/stdin.wav", None)], ["stdin", "r/stdin"]),
    "dots": ([("/r/b/../a/x.wav", None), ("/r/./b/x.wav", None)], ["a/x", "b/x"]),
}


@pytest.mark.skipif(os.name != "posix", reason="paths as they are there")
@pytest.mark.parametrize("case", NAMES)
def test_names_are_as_short_as_they_are_unique(case):
    given, expected = NAMES[case]
    made = mirrored(given, Path("/out"), "srt")
    assert [path.as_posix() for path in made] == [f"/out/{name}.srt" for name in expected]
    assert len(set(made)) == len(given)


def test_one_recording_twice_is_refused_before_the_work_naming_both(spot, tmp_path):
    path, other = record(tmp_path / "a" / "x.wav", "yes"), record(tmp_path / "a" / "y.wav", "yes")
    again = tmp_path / "a" / ".." / "a" / "x.wav"
    refused(spot(other, path, again), path, again)
    assert files(tmp_path / "out") == {}


# what is there already


@pytest.mark.parametrize("format", ["table", "jsonl", "csv", "audacity", "srt", "vtt"])
def test_what_is_there_stays_unless_it_is_to_be_replaced(spot, tmp_path, format):
    given = [record(tmp_path / f"{name}.wav", "yes") for name in "ab"]
    assert spot(*given, format=format).returncode == 0
    made = files(tmp_path / "out")
    for name in made:
        (tmp_path / "out" / name).write_bytes(b"corrected by hand")
    refused(spot(*given, format=format), "--overwrite", tmp_path / "out" / min(made))
    assert set(files(tmp_path / "out").values()) == {b"corrected by hand"}
    assert spot(*given, "--overwrite", format=format).returncode == 0
    assert files(tmp_path / "out") == made


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("track", ["stream.txt", "stream.clips.txt"])
def test_a_label_track_beside_a_recording_stays(spot, tmp_path, track, more):
    recording = record(tmp_path / "in" / "stream.wav", "yes")
    if track == "stream.clips.txt":
        record(tmp_path / "in" / "stream.clips.wav", "yes")
    (tmp_path / "in" / track).write_text("0\t1\tby hand\n")
    before = files(tmp_path / "in")
    refused(spot(tmp_path / "in", *more, out=tmp_path / "in"), tmp_path / "in" / track, recording)
    assert files(tmp_path / "in") == before
    (tmp_path / "link").symlink_to(tmp_path / "in")
    refused(spot(recording, tmp_path / "in", *more, out=tmp_path / "link"))
    assert files(tmp_path / "in") == before


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
@pytest.mark.parametrize("through", ["name", "link"])
def test_a_recording_is_never_replaced(spot, tmp_path, more, through):
    """Whatever it is called: sound is known by its content."""
    recording = record(tmp_path / "in" / "x.srt", "yes", format="WAV")
    out = tmp_path / "in"
    if through == "link":
        out = tmp_path / "out"
        (out / "x.srt").symlink_to(recording)
    before = files(tmp_path / "in")
    refused(spot(recording, *more, format="srt", out=out), out / "x.srt", "is a recording")
    assert files(tmp_path / "in") == before


def test_a_file_in_the_place_of_a_folder_is_refused_before_the_work(spot, tmp_path):
    record(tmp_path / "in" / "a.wav", "yes")
    record(tmp_path / "in" / "mon" / "x.wav", "yes")
    (tmp_path / "out" / "mon").write_text("mine")
    refused(spot(tmp_path / "in"), tmp_path / "out" / "mon")
    assert files(tmp_path / "out") == {"mon": b"mine"}


def test_overwrite_without_a_folder_says_what_it_is_about(model, tmp_path):
    refused(run("spot", record(tmp_path / "x.wav", "yes"), "-m", model, "--overwrite"), "--output-folder")


@pytest.mark.skipif(os.name != "posix", reason="such names")
def test_a_name_that_is_no_utf8_goes_into_the_file_as_it_is(model, tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    shutil.copyfile(record(tmp_path / "x.wav", "yes"), tmp_path / name)
    (tmp_path / "out").mkdir()
    shown = command("spot", tmp_path / name, "-m", model, "-f", "csv", "-o", tmp_path / "out", text=False)
    assert shown.returncode == 0
    [made] = (tmp_path / "out").iterdir()
    assert os.fsencode(made.name) == b"caf\xe9.csv"
    assert b"caf" in made.read_bytes()


# the other verbs


def test_a_picture_that_nobody_named_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "clip.wav", "yes")
    (tmp_path / "clip.png").write_bytes(b"a photograph")
    refused(run("plot", "clip.wav"), "clip.png", "--output")
    assert (tmp_path / "clip.png").read_bytes() == b"a photograph"
    assert run("plot", "clip.wav", "-o", "clip.png").returncode == 0
    assert (tmp_path / "clip.png").read_bytes().startswith(b"\x89PNG")


PICTURE = {  # called so, it is of a kind that can be drawn
    "plot": lambda path: ["plot", path, "-o", path],
    "evaluate": lambda path: ["evaluate", path.parent.parent, "--picture", path.with_name("link.png")],
    "score": lambda path: ["score", path, "--labels", path, "--picture", path],
    "score's labels": lambda path: ["score", path.with_name("link.png"), "--labels", path, "--picture", path],
    "score's model": lambda path: ["score", path.with_suffix(""), "--model", path, "--picture", path],
    "evaluate's model": lambda path: ["evaluate", path.parent.parent, "--model", path, "--picture", path],
}


@pytest.mark.parametrize("case", PICTURE)
def test_a_picture_does_not_take_the_place_of_what_is_read(tmp_path, case):
    path = record(tmp_path / "yes" / "x.png", "yes", format="WAV")
    sound = record(tmp_path / "yes" / "x.wav", "yes")
    path.with_name("link.png").symlink_to(sound)
    before = files(tmp_path)
    refused(run(*PICTURE[case](path)), "would replace what is read")
    assert files(tmp_path) == before


def test_what_cannot_be_drawn_is_told_before_the_work(tmp_path):
    record(tmp_path / "yes" / "x.wav", "yes")
    refused(run("evaluate", tmp_path, "--picture", tmp_path / "x.docx"), "x.docx")
    refused(run("score", tmp_path / "yes" / "x.wav", "--picture", tmp_path / "x.docx"), "x.docx")


def start(program, *arguments):
    """Run a verb, or the `main` of a module."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(getattr(program, "main", program))
    return run(*arguments, start=app)


SHIPPED = speechrnn.load().path
INPUT_AS_OUTPUT = {  # what is called, where IN is the one file that it reads
    "export": (export, ["IN", "-o", "IN"]),
    "calibrate": (calibrate, ["IN.onnx", "IN.onnx"]),
    "calibrate's picture": (calibrate, ["IN.onnx", "OUT.png", "--picture", "OUT.png"]),
    "quantize": (quantize, ["IN.onnx", "IN.onnx"]),
    "suspects": (suspects, ["FOLDER", "IN.onnx", "--model", "IN.onnx"]),
    "suspects' lists": (suspects, ["FOLDER", "FOLDER/validation_list.txt"]),
    "suspects' clips": (suspects, ["FOLDER", "FOLDER/yes/x.wav"]),
    "validate": (validate, ["IN.onnx", "--json", "IN.onnx"]),
    "validate's clips": (validate, ["IN.onnx", "--commands", "FOLDER", "--json", "FOLDER/yes/x.wav"]),
    "teacher": (teacher, ["IN", "OUT", "IN"]),
    "teacher's model": (teacher, ["CONFIG", "IN", "IN"]),
    "hints": (hints, ["CONFIG", "MODELS", "MODELS/embedding_model.onnx"]),
    "average": (average, ["IN", "IN", "OUT"]),
    "reach": (draw_reach, ["IN.png", "IN.png"]),
    "make_stream": (make_stream, ["FOLDER", "FOLDER/yes/x.wav", "--overwrite"]),
}


@pytest.mark.parametrize("through", ["itself", "link"])
@pytest.mark.parametrize("case", INPUT_AS_OUTPUT)
def test_an_output_is_none_of_the_inputs(tmp_path, case, through):
    for name in ("IN", "IN.png", "CONFIG", "OUT"):
        (tmp_path / name).write_bytes(b"read")
    shutil.copyfile(SHIPPED, tmp_path / "IN.onnx")
    record(tmp_path / "FOLDER" / "yes" / "x.wav", "yes")
    (tmp_path / "FOLDER" / "validation_list.txt").write_text("yes/x.wav\n")
    (tmp_path / "MODELS").mkdir()
    (tmp_path / "MODELS" / "embedding_model.onnx").write_bytes(b"read")
    module, arguments = INPUT_AS_OUTPUT[case]
    paths = [tmp_path / word if word[0].isupper() else word for word in arguments]
    if through == "link":
        written = {"average": 0, "reach": 0, "teacher": 1}.get(case.partition("'")[0])
        place = {"teacher's model": 2, "make_stream": 1}.get(case, written)
        at = max(i for i, word in enumerate(arguments) if word[0].isupper()) if place is None else place
        link = tmp_path / f"link{paths[at].suffix}"
        if paths[at].exists():
            link.symlink_to(paths[at])
            paths[at] = link
    before = files(tmp_path)
    shown = start(module, *paths)
    refused(shown, "would replace what is read")
    assert files(tmp_path) == before


@pytest.mark.slow
def test_an_onnx_file_of_an_earlier_export_is_replaced_when_it_is_named(tmp_path):
    checkpoint = saved(tmp_path / "best.pt", recognizer("gru"))
    for _ in range(2):
        assert start(export, checkpoint, "-o", tmp_path / "model.onnx").returncode == 0
    onnx.load(tmp_path / "model.onnx")
    before = checkpoint.read_bytes()
    refused(start(export, checkpoint, "-o", tmp_path / ".." / tmp_path.name / "best.pt"), "best.pt")
    assert checkpoint.read_bytes() == before


def test_a_family_goes_to_names_that_are_free(tmp_path):
    (tmp_path / "gru-12-int8.onnx").write_bytes(b"mine")
    refused(start(family, SHIPPED, tmp_path), tmp_path / "gru-12-int8.onnx", "--overwrite")
    (tmp_path / "gru-12-int8.onnx").unlink()
    (tmp_path / "gru-12-int8.onnx").symlink_to(SHIPPED)
    before = SHIPPED.read_bytes()
    refused(start(family, SHIPPED, tmp_path, "--overwrite"), "would replace what is read")
    assert SHIPPED.read_bytes() == before


def test_a_c_program_does_not_replace_one_that_may_have_been_changed(tmp_path):
    (tmp_path / "main.c").write_text("int main(void) { return 0; }  /* mine */")
    refused(start(to_c, SHIPPED, tmp_path), tmp_path / "main.c", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["main.c"]


@pytest.mark.parametrize("there", ["x.wav", "x.txt", "x.clips.txt"])
def test_a_stream_and_its_tracks_go_where_nothing_is(tmp_path, there):
    out = tmp_path / "out"
    out.mkdir()
    (out / there).write_bytes(b"mine")
    refused(start(make_stream, tmp_path, out / "x.wav"), out / there, "--overwrite")
    samples = np.zeros(RATE, np.float32)
    with pytest.raises(InputError, match="--overwrite"):
        make_stream.save(out / "x.wav", samples, [], [])
    assert files(out)[there] == b"mine"
    assert "x.wav" not in files(out) or there == "x.wav"
    make_stream.save(out / "x.wav", samples, [], [], overwrite=True)
    assert sorted(files(out)) == ["x.clips.txt", "x.txt", "x.wav"]
    assert b"mine" not in files(out).values()


@pytest.mark.parametrize("takes", [[], ["--takes", 2]])
def test_a_made_word_does_not_replace_a_recording(tmp_path, monkeypatch, takes):
    monkeypatch.setattr(synthesize, "speak", lambda *_: np.full(RATE, 0.1, np.float32))
    mine = record(tmp_path / ("stop/1.wav" if takes else "stop.wav"), "yes")
    before = mine.read_bytes()
    refused(start(synthesize, tmp_path, "go", "stop", *takes), mine, "--overwrite")
    assert files(tmp_path) == {mine.relative_to(tmp_path).as_posix(): before}
    assert start(synthesize, tmp_path, "go", "stop", "stop", *takes, "--overwrite").returncode == 0
    assert len(files(tmp_path)) == (4 if takes else 2)
    assert mine.read_bytes() != before


def made_page(folder):
    (folder / "runtime").mkdir(parents=True)
    for name in ("index.html", "runtime/ort.mjs"):
        (folder / name).write_text(name)
    (folder / page.LIST).write_text(page._list_of_files(folder))


def test_an_earlier_page_is_one_that_nobody_has_touched(tmp_path):
    """A folder is replaced with all that is in it."""
    site = tmp_path / "site"
    made_page(site)
    page._check_place(site)
    for change in (
        lambda: (site / "CNAME").write_text("mine"),
        lambda: (site / "index.html").write_text("changed"),
        lambda: (site / "index.html").unlink(),
        lambda: (site / page.LIST).write_text("my own files.js"),
    ):
        shutil.rmtree(site)
        made_page(site)
        change()
        with pytest.raises(InputError, match="something else"):
            page._check_place(site)


# a run folder


@pytest.mark.slow
def test_a_run_does_not_take_the_folder_of_its_own_settings(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text((ROOT / "configs" / "speech-commands-12.toml").read_text())
    before = config.read_bytes()
    refused(command("train", config, "--run-folder", tmp_path), config, "--run-folder")
    assert files(tmp_path) == {"config.toml": before}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best.pt", "metrics.csv", "curves.png"])
def test_a_run_does_not_take_a_folder_with_files_of_somebody_else(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    shown = command("train", ROOT / "configs" / "speech-commands-12.toml", "--run-folder", tmp_path)
    refused(shown, tmp_path / name)
    assert files(tmp_path) == {name: b"mine"}


def test_the_settings_of_a_run_stay_as_they_are_written_unless_they_change(tmp_path):
    """A run may be started again, or resumed by its own file, whatever remarks somebody has put into it."""
    folder, chosen = RunFolder(tmp_path), config.load(ROOT / "configs" / "speech-commands-12.toml", [])
    folder.check(chosen, resume=False)
    folder.keep_settings(chosen)
    folder.best.write_bytes(b"of the start before")
    folder.check(chosen, resume=False)
    remarked = "# mine\n" + (tmp_path / "config.toml").read_text(encoding="utf-8")
    (tmp_path / "config.toml").write_text(remarked, encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.toml: is there already"):
        folder.check(chosen, resume=False)
    folder.keep_settings(chosen)
    assert (tmp_path / "config.toml").read_text(encoding="utf-8") == remarked
    other = config.load(ROOT / "configs" / "speech-commands-12.toml", ["train.epochs=3"])
    folder.keep_settings(other)
    assert config.load(tmp_path / "config.toml", []) == other
    own = replace(other, train=replace(other.train, start_from=str(folder.best)))
    with pytest.raises(InputError, match="would replace what is read"):
        folder.check(own, resume=False)
