"""The command line: what classify, info, plot and evaluate print, write, and exit with."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import soundfile

import speechrnn
from speechrnn import cli
from speechrnn.evaluation.partition import partition
from tests.support.command_line import ROOT, command, encoded, run
from tests.support.sound_kinds import sound


@pytest.fixture(scope="module")
def model():
    return speechrnn.load()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ten clips, each of them other sound, in a folder and a folder below it."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "below").mkdir()
    for i, kind in enumerate(["noise", "tones", "speech", "speech", "speech"] * 2):
        name = f"below/{i}.flac" if i > 7 else f"{i}.wav"
        soundfile.write(folder / name, sound(kind, 16_000 + 1000 * i, i), 16_000)
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture
def files(made):
    return [made / f"{i}.wav" for i in range(8)] + [made / "below/8.flac", made / "below/9.flac"]


# every verb


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_shows_what_to_type(verb):
    shown = run(verb, "--help")
    assert shown.returncode == 0
    assert f"speechrnn {verb} " in next(line for line in shown.stdout.splitlines() if "Usage:" in line)
    assert f"Example: speechrnn {verb} " in " ".join(shown.stdout.split())


def test_help_of_all_names_every_verb():
    shown = command("--help")
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in cli.VERBS)


def test_the_version_is_that_of_the_package():
    assert run("--version").stdout == f"speechrnn {speechrnn.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["classify"], ["listen-to-me"], ["info", "--colour"], ["classify", "x", "--top", "0"]]
)
def test_a_wrong_command_line_is_exit_code_2_with_usage(arguments):
    shown = run(*arguments)
    assert shown.returncode == 2
    assert shown.stderr.startswith("Usage: ")
    assert shown.stdout == ""


# classify


def test_a_table_in_a_file_or_pipe_is_plain_lines(files, model):
    shown = command("classify", *files[:3])
    assert (shown.returncode, shown.stderr) == (0, "")
    expected = [model.classify(file) for file in files[:3]]
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert rows == [[str(f), r.label, f"{r.probability:.3f}"] for f, r in zip(files, expected, strict=False)]


def test_a_table_with_top_lists_the_labels_in_order(files, model):
    shown = run("classify", files[2], "--top", "3")
    best = list(model.classify(files[2]).posterior.items())[:3]
    assert shown.stdout.split()[1:] == [cell for label, p in best for cell in (label, f"{p:.3f}")]


def test_json_is_one_list(files, model):
    records = json.loads(run("classify", *files, "--format", "json").stdout)
    assert [r["path"] for r in records] == list(map(str, files))
    for record, file in zip(records, files, strict=True):
        result = model.classify(file)
        assert set(record) == {"path", "label", "probability"}
        assert record["label"] == result.label
        assert record["probability"] == pytest.approx(result.probability, abs=1e-6)


def test_a_json_line_has_a_sorted_list_of_the_most_probable(files, model):
    lines = run("classify", *files, "--format", "jsonl", "--top", "4").stdout.splitlines()
    assert len(lines) == len(files)
    for line, file in zip(lines, files, strict=True):
        record = json.loads(line)
        assert record["path"] == str(file)
        assert [entry["label"] for entry in record["top"]] == list(model.classify(file).posterior)[:4]
        probabilities = [entry["probability"] for entry in record["top"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert record["top"][0] == {"label": record["label"], "probability": record["probability"]}


@pytest.mark.parametrize("top", [1, 2, 99])
def test_csv_has_a_header_and_columns_for_top(tmp_path, files, model, top):
    comma = tmp_path / 'a, "b".wav'
    shutil.copy(files[0], comma)
    header, *rows = csv.reader(io.StringIO(run("classify", comma, files[1], "-f", "csv", "-k", top).stdout))
    shown = min(top, len(model.labels))
    assert header[:3] == ["path", "label", "probability"]
    assert len(set(header)) == len(header) == 1 + 2 * shown
    for row, file in zip(rows, (comma, files[1]), strict=True):
        assert row[0] == str(file)
        best = list(model.classify(file).posterior.items())[:top]
        assert row[1::2] == [label for label, _ in best]
        assert list(map(float, row[2::2])) == pytest.approx([p for _, p in best], abs=1e-6)


def paths_of(shown):
    assert (shown.returncode, shown.stderr) == (0, "")
    return [Path(json.loads(line)["path"]) for line in shown.stdout.splitlines()]


def test_a_folder_stands_for_all_sound_below_it(made, files):
    assert paths_of(run("classify", made, "-f", "jsonl")) == sorted(files)


def test_globs_are_found_where_the_shell_left_them(made, files):
    assert paths_of(run("classify", made / "[3-5].wav", "-f", "jsonl")) == files[3:6]
    assert paths_of(run("classify", made / "**" / "*.flac", "-f", "jsonl")) == files[8:]


def test_a_name_that_looks_like_a_glob_is_first_a_name(tmp_path, files):
    odd = tmp_path / "a[1].wav"
    shutil.copy(files[0], odd)
    shutil.copy(files[1], tmp_path / "a1.wav")
    assert paths_of(run("classify", odd, "-f", "jsonl")) == [odd]


def test_results_come_in_the_order_of_the_arguments(made, files):
    order = [files[5], files[0], made / "below", files[5], files[3]]
    expected = [files[5], files[0], *files[8:], files[5], files[3]]
    assert paths_of(run("classify", *order, "-f", "jsonl")) == expected


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
def test_the_number_of_workers_changes_nothing(made, format):
    shown = [run("classify", made, "-f", format, "--workers", n).stdout for n in (1, 4)]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_sound_is_taken_from_a_pipe(model, format):
    clip = encoded(sound("speech", 16_000, 3), format=format)
    shown = command("classify", "-", "-f", "jsonl", input=clip, text=False)
    assert (shown.returncode, shown.stderr) == (0, b"")
    record, expected = json.loads(shown.stdout), model.classify(clip)
    assert (record["path"], record["label"]) == ("-", expected.label)
    assert record["probability"] == pytest.approx(expected.probability, abs=1e-6)


def test_a_pipe_stands_among_files(files):
    clip = encoded(sound("noise", 16_000))
    shown = run("classify", files[1], "-", files[0], "-f", "jsonl", stdin=clip)
    assert paths_of(shown) == [files[1], Path("-"), files[0]]


@pytest.mark.parametrize("arguments", [["classify", "-f", "jsonl"], ["classify", "-f", "json"], ["classify"], ["info"]])
def test_a_reader_that_goes_away_is_no_error(made, arguments):
    """As in `speechrnn classify folder | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    made = [made] if "classify" in arguments else []
    buffered = {"PYTHONUNBUFFERED": ""}  # as it is unless told otherwise: the pipe is found closed at the very end
    shown = command(*arguments, *made, stdout=writing, stderr=subprocess.PIPE, env=buffered)
    os.close(writing)
    assert shown.stderr == ""
    assert shown.returncode in (0, 1)


def test_the_head_of_much_is_enough(files):
    argv = [sys.executable, "-m", "speechrnn", "classify", "-f", "jsonl", "-k", "12", *map(str, files * 20)]
    process = subprocess.Popen(
        argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert json.loads(process.stdout.readline())["path"] == str(files[0])
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.skipif(os.name == "nt", reason="file names that are no text exist on POSIX alone")
@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_a_file_name_that_is_no_text_goes_out_as_it_came(tmp_path, files, format):
    name = os.fsencode(tmp_path) + b"/\xff.wav"
    shutil.copy(os.fsencode(files[0]), name)
    shown = command("classify", name, "-f", format, text=False, env={"PYTHONIOENCODING": "utf-8:strict"})
    assert (shown.returncode, shown.stderr) == (0, b"")
    path = os.fsencode(json.loads(shown.stdout)["path"]) if format == "jsonl" else name
    assert path == name
    assert format == "jsonl" or name in shown.stdout


def on_terminal(*arguments, stream):
    """What the command writes to a terminal of 100 columns at `stream`, and what it writes to the other stream."""
    pty = pytest.importorskip("pty")
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    argv = [sys.executable, "-m", "speechrnn", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: theirs}
    process = subprocess.Popen(argv, env=environment, **streams)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # Linux says EIO where the other side is closed
        while piece := os.read(ours, 4096):
            seen += piece
    os.close(ours)
    other = b"".join(out for out in process.communicate() if out)
    assert process.returncode == 0
    return seen.decode(), other.decode()


def test_a_terminal_gets_a_drawn_table(files, model):
    shown, errors = on_terminal("classify", files[2], "--top", "2", stream="stdout")
    first, second = list(model.classify(files[2]).posterior)[:2]
    assert "│" in shown
    assert "most probable" in shown
    assert first in shown
    assert second in shown
    assert errors == ""


def test_many_files_show_progress_on_the_terminal_and_only_there(files):
    shown, results = on_terminal("classify", *files * 11, "-f", "jsonl", stream="stderr")
    assert "classifying" in shown
    assert len(list(map(json.loads, results.splitlines()))) == 110


def test_few_files_show_no_progress(files):
    shown, _ = on_terminal("classify", *files, stream="stderr")
    assert shown == ""


# info


def test_info_shows_the_card(model):
    shown = run("info")
    assert shown.returncode == 0
    words = shown.stdout.split()
    assert all(label in words for label in model.labels)
    assert "CC" in words  # licences


def test_info_as_json_is_the_card(model):
    assert json.loads(run("info", "--json").stdout) == json.loads(model.card.to_json())


def test_info_of_a_file_whose_name_looks_like_markup(model, tmp_path):
    odd = tmp_path / "x[" / "b].onnx"
    odd.parent.mkdir()
    shutil.copy(model.path, odd)
    shown = run("info", odd)
    assert shown.returncode == 0
    assert "x[/b].onnx" in "".join(shown.stdout.split())


def test_another_model_is_used_where_it_is_named(model, tmp_path):
    """With two of its labels exchanged, the same graph gives the one name for the other."""
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(model.path)
    values = json.loads(model.card.to_json())
    exchanged = {"yes": "go", "go": "yes"}
    values["labels"] = [exchanged.get(label, label) for label in values["labels"]]
    onnx.helper.set_model_props(proto, {"speechrnn": json.dumps(values)})
    other = tmp_path / "other.onnx"
    onnx.save(proto, other)
    record = json.loads(run("classify", ROOT / "examples" / "yes.wav", "--model", other, "-f", "jsonl").stdout)
    assert record["label"] == "go"


# plot


def test_plot_draws_a_png_of_its_size(files, model, tmp_path):
    target = tmp_path / "clip.png"
    shown = command("plot", files[2], "-o", target)
    assert (shown.returncode, shown.stderr) == (0, "")
    result = model.classify(files[2])
    assert shown.stdout == f"{target}: {result.label} {result.probability:.3f}\n"
    picture = matplotlib.image.imread(target)
    assert picture.shape[:2] == (660, 990)
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 100


def test_plot_is_named_after_the_clip(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("plot", files[8]).returncode == 0
    assert (tmp_path / "8.png").read_bytes().startswith(b"\x89PNG")


def test_plot_draws_svg(files, model, tmp_path):
    assert run("plot", files[0], "-o", tmp_path / "clip.svg").stderr == ""
    text = (tmp_path / "clip.svg").read_text()
    assert f"<!-- {model.classify(files[0]).label} -->" in text
    assert "<!-- time (s)" in text


@pytest.mark.parametrize("name", ["$5_$6.wav", "a\nb.wav", b"\xff.wav"])
def test_plot_of_a_clip_with_an_odd_name(files, tmp_path, name):
    odd = tmp_path / os.fsdecode(name)
    shutil.copy(files[0], odd)
    shown = run("plot", odd, "-o", tmp_path / "clip.png")
    assert (shown.returncode, shown.stderr) == (0, "")


# evaluate


@pytest.fixture
def labelled(tmp_path, files, model):
    """Clips in folders: seven where the model puts them, two where it doesn't, one of an unknown word."""
    heard = [model.classify(file).label for file in files]
    other = {label: "up" if label == "yes" else "yes" for label in model.labels}
    said = [*heard[:7], other[heard[7]], other[heard[8]], "house"]
    folder = tmp_path / "labelled"
    for file, word in zip(files, said, strict=True):
        (folder / word).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / word)
    pairs = Counter(
        (word if word in model.labels else "_unknown_", label) for word, label in zip(said, heard, strict=True)
    )
    return SimpleNamespace(folder=folder, pairs=pairs)


def test_evaluate_counts_as_one_would_by_hand(labelled, model):
    shown = run("evaluate", labelled.folder, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    whole = json.loads(shown.stdout)
    counts = whole["confusions"]["counts"]
    assert whole["confusions"]["labels"] == list(model.labels)
    pairs = {(a, b): counts[i][j] for i, a in enumerate(model.labels) for j, b in enumerate(model.labels)}
    assert {pair: n for pair, n in pairs.items() if n} == labelled.pairs
    right = sum(n for (said, heard), n in labelled.pairs.items() if said == heard)
    assert 7 <= right <= 8
    assert whole["clips"] == 10
    assert whole["accuracy"] == pytest.approx(right / 10)
    for row in whole["labels"]:
        name = row["label"]
        said = sum(n for (a, _), n in labelled.pairs.items() if a == name)
        heard = sum(n for (_, b), n in labelled.pairs.items() if b == name)
        hits = labelled.pairs[name, name]
        assert row["clips"] == said
        assert row["recall"] == (pytest.approx(hits / said) if said else None)
        assert row["precision"] == (pytest.approx(hits / heard) if heard else None)
        wrong = {b: n for (a, b), n in labelled.pairs.items() if a == name != b}
        if wrong:
            assert row["mistaken_for"]["clips"] == max(wrong.values()) == wrong[row["mistaken_for"]["label"]]
        else:
            assert row["mistaken_for"] is None


def test_evaluate_prints_a_table_and_the_accuracy(labelled):
    shown = run("evaluate", labelled.folder)
    right = sum(n for (said, heard), n in labelled.pairs.items() if said == heard)
    assert f"accuracy {right / 10:.2%} ({right} of 10 clips)" in shown.stdout
    assert "recall" in shown.stdout


def test_evaluate_draws_the_confusions(labelled, tmp_path):
    assert run("evaluate", labelled.folder, "--picture", tmp_path / "confusions.png").returncode == 0
    picture = matplotlib.image.imread(tmp_path / "confusions.png")[..., :3]
    assert picture.shape[0] == picture.shape[1]
    assert picture.std() > 0.05


def test_evaluate_goes_on_past_a_broken_clip(labelled):
    broken = next(labelled.folder.rglob("0.wav")).with_name("broken.wav")
    broken.write_bytes(b"RIFF")
    shown = run("evaluate", labelled.folder, "--json")
    assert shown.returncode == 1
    assert len(shown.stderr.splitlines()) == 1
    assert str(broken) in shown.stderr
    assert json.loads(shown.stdout)["clips"] == 10


def test_evaluate_cuts_background_noise_into_silence(labelled, model):
    noise = labelled.folder / "_background_noise_"
    noise.mkdir()
    hiss = np.random.default_rng(0).standard_normal(16_000 * 5) * 0.01
    soundfile.write(noise / "hiss.wav", hiss, 16_000)
    before = labelled.pairs.total()
    had_silence = any(said == "_silence_" for said, _ in labelled.pairs)
    whole = json.loads(run("evaluate", labelled.folder, "--json").stdout)
    row = next(row for row in whole["labels"] if row["label"] == "_silence_")
    assert whole["clips"] == before + (0 if had_silence else row["clips"])
    assert row["recall"] == 1.0


def test_evaluate_takes_the_clips_of_one_partition(tmp_path):
    """In the published proportions: a tenth as many other words as words."""
    names = [f"{speaker:08x}_nohash_0.wav" for speaker in range(80)]
    for word in ("yes", "house"):
        (tmp_path / word).mkdir()
        for name in names:
            (tmp_path / word / name).write_bytes(encoded(np.zeros(1600)))
    for part in ("training", "validation", "testing"):
        clips = sum(partition(tmp_path / "yes" / name) == part for name in names)
        whole = json.loads(run("evaluate", tmp_path, "--partition", part, "--json").stdout)
        said = {row["label"]: row["clips"] for row in whole["labels"]}
        assert clips > 2
        assert (said["yes"], said["_unknown_"]) == (clips, -(-clips // 10))
