"""Where a run is kept and what it goes on from: files, links, copied and damaged checkpoints, full disks, no clips."""

import os
import re
import shutil
import zipfile
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import typer
from typer.testing import CliRunner

from speechrnn import audio
from speechrnn.cli.train import train
from speechrnn.errors import InputError
from speechrnn.training import average, checkpoint, config
from speechrnn.training.data import TrainingData
from tests.support.training import config_file, data_folder, speakers, start  # noqa: F401

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has other rules")
pytestmark = pytest.mark.usefixtures("one_thread")
FEW_STEPS = "train.batch_size=64"
app = typer.Typer()
app.command()(train)


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_refused(shown, *named):
    assert isinstance(shown.exception, SystemExit), repr(shown.exception)
    assert (shown.exit_code, len(shown.stderr.splitlines())) == (2, 1), shown.stderr
    assert all(str(name) in shown.stderr for name in named), shown.stderr


@pytest.fixture(scope="module")
def finished(config_file, tmp_path_factory):
    """A run folder after one epoch."""
    folder = tmp_path_factory.mktemp("runs") / "tones"
    start(config_file, folder, FEW_STEPS, "train.epochs=1").fit()
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


# where it is kept


@POSIX
@pytest.mark.parametrize("place", ["file", "file/run", "n" * 300, "loop", "loop/run", "file/a/b"])
def test_a_run_folder_that_cannot_be_is_named_before_anything_is_read(config_file, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    shown = command(config_file, "--run-folder", tmp_path / place, "--set", "data.folder=missing")
    assert_refused(shown, "--run-folder", tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_folder_that_may_not_be_written_is_named(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr(
        os, "access", lambda path, mode: not mode & os.W_OK
    )  # who runs tests as root may write anywhere
    shown = command(config_file, "--run-folder", tmp_path / "runs" / "a", "--set", "data.folder=missing")
    assert_refused(shown, tmp_path / "runs" / "a", f"{tmp_path} can't be written to")


@POSIX
def test_a_link_that_leads_nowhere_is_no_run_folder(config_file, tmp_path):
    (tmp_path / "link").symlink_to("missing")
    with pytest.raises(InputError, match=str(tmp_path / "link")):
        start(config_file, tmp_path / "link").fit()


@POSIX
def test_a_run_folder_that_is_not_utf_8_is_refused(config_file, tmp_path):
    with pytest.raises(InputError, match="UTF-8"):
        start(config_file, tmp_path / os.fsdecode(b"\xff"))


def test_the_name_of_a_run_is_no_way_out_of_the_folder_of_runs(config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(command(config_file, "--set", "name=../../x"), "name: ../../x")


# what it goes on from


def test_a_copied_best_checkpoint_is_not_resumed(config_file, copied):
    shutil.copy(copied / "best.pt", copied / "last.pt")
    shown = command(config_file, "--run-folder", copied, "--resume")
    assert_refused(shown, copied / "last.pt", "train.start_from")


def changed(content, **changes):
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def other_settings(content, **tables):
    values = content["config"]
    return changed(content, config={**values, **{name: {**values[name], **table} for name, table in tables.items()}})


DAMAGED = {
    "labels": lambda c: changed(c, labels=["low", "high", "_unknown_", "_silence_"]),
    "labels of a kind": lambda c: changed(c, labels=[1, 2, 3, 4]),
    "no labels": lambda c: changed(c, labels=None),
    "network": lambda c: other_settings(c, network={"hidden_size": 8}),
    "front end": lambda c: other_settings(c, front_end={"f_max": 7000.0}),
    "a size of a setting": lambda c: other_settings(c, network={"hidden_size": 10**12}),
    "no settings": lambda c: changed(c, config=[]),
    "shapes": lambda c: changed(c, current={k: torch.zeros(1, 2, 3) for k in c["current"]}),
    "names of weights": lambda c: changed(c, current={f"x.{k}": v for k, v in c["current"].items()}),
    "no tensors": lambda c: changed(c, current=dict.fromkeys(c["current"], "x")),
    "average": lambda c: changed(c, average={}),
    "no average": lambda c: changed(c, average=None),
    "optimizer": lambda c: changed(c, optimizer={"state": {}, "param_groups": []}),
    "no optimizer": lambda c: changed(c, optimizer=None),
    "history": lambda c: changed(c, history=[{}]),
    "history of a kind": lambda c: changed(c, history="long"),
    "history of numbers": lambda c: changed(c, history=[1, 2]),
    "history of words": lambda c: changed(c, history=[{"epoch": "one", "validation_accuracy": 1.0}]),
    "step": lambda c: changed(c, step="many"),
    "a negative step": lambda c: changed(c, step=-1),
    "no step": lambda c: changed(c, step=None),
    "a regressor": lambda c: changed(c, regressor={}),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_checkpoint_that_does_not_fit_is_not_resumed(config_file, copied, damage):
    torch.save(damage(checkpoint.read(copied / "last.pt")), copied / "last.pt")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=re.escape(str(copied / "last.pt"))) as caught:
        start(config_file, copied, resume=True)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_packed_checkpoint_is_refused(finished, tmp_path):
    """A zip may be a thousand times as large when it is read."""
    with zipfile.ZipFile(finished / "best.pt") as stored, zipfile.ZipFile(tmp_path / "x.pt", "w") as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"x\.pt.*is not a checkpoint"):
        checkpoint.read(tmp_path / "x.pt")


@POSIX
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "long", "/dev/zero", "NUL"])
def test_what_is_no_file_is_no_checkpoint(tmp_path, kind):
    path = tmp_path / "model.pt"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "/dev/zero":
            path = type(path)("/dev/zero")
        case _:
            path = tmp_path / {"long": "n" * 300, "NUL": "a\0b"}[kind]
    with pytest.raises(InputError) as caught:
        checkpoint.read(path)
    assert str(caught.value).isprintable()


@POSIX
def test_a_checkpoint_whose_name_is_not_utf_8_is_read(finished, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.pt")
    shutil.copy(finished / "best.pt", path)
    assert checkpoint.recognizer(path)[0].labels == ("high", "low", "_unknown_", "_silence_")


def test_a_mean_of_a_damaged_checkpoint_is_refused(finished, tmp_path):
    content = checkpoint.read(finished / "best.pt")
    torch.save(changed(content, weights=dict.fromkeys(content["weights"], "x")), tmp_path / "bad.pt")
    arguments = [tmp_path / "mean.pt", finished / "best.pt", tmp_path / "bad.pt"]
    assert_refused(CliRunner().invoke(average.app, list(map(str, arguments))), tmp_path / "bad.pt")
    assert not (tmp_path / "mean.pt").exists()


@pytest.mark.parametrize("which", ["missing.pt", "foreign.pt", "other.pt", "folder", "n" * 300])
def test_a_start_from_what_is_none_is_named(config_file, finished, tmp_path, which):
    (tmp_path / "folder").mkdir()
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "foreign.pt")
    torch.save(DAMAGED["network"](checkpoint.read(finished / "best.pt")), tmp_path / "other.pt")
    with pytest.raises(InputError, match=re.escape(str(tmp_path / which))):
        start(config_file, tmp_path / "run", f"train.start_from={tmp_path / which}")


# a disk that is full


@contextmanager
def largest_file(size):
    """What is written beyond that fails as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@POSIX
def test_a_run_goes_on_after_a_full_disk_and_with_its_settings_edited(config_file, copied, capfd):
    before = {name: (copied / name).read_bytes() for name in ("last.pt", "best.pt", "metrics.csv")}
    for size in (100, 20_000):  # settings; checkpoint
        run = start(config_file, copied, FEW_STEPS, "train.epochs=2", resume=True)
        with largest_file(size), pytest.raises(InputError, match=re.escape(str(copied))) as caught:
            run.fit()
        assert "\n" not in str(caught.value)
        assert {name: (copied / name).read_bytes() for name in before} == before
        assert list(copied.glob("*.part")) == []
    (copied / "config.toml").write_text("[[[")
    assert start(config_file, copied, FEW_STEPS, "train.epochs=2", resume=True).fit()["epoch"] <= 2
    assert config.load(copied / "config.toml").train.epochs == 2
    assert len(checkpoint.read(copied / "last.pt")["history"]) == 2
    assert "Traceback" not in capfd.readouterr().err


@POSIX
def test_a_full_disk_under_tensorboard_is_one_line(config_file, copied, capfd):
    run = start(config_file, copied, FEW_STEPS, "train.epochs=2", resume=True)
    run._prepare()
    run._prepare = lambda: None
    with largest_file(200), pytest.raises(InputError, match="make room there; then go on with --resume"):
        run.fit()
    assert "Traceback" not in capfd.readouterr().err


# clips that aren't there


@pytest.mark.parametrize("twins", [False, True])
def test_a_batch_that_is_too_large_is_told_what_would_do(config_file, tmp_path, twins):
    overrides = [f"augment.twins={str(twins).lower()}", "train.batch_size=60000"]
    run = start(config_file, tmp_path / "run", *overrides)
    with pytest.raises(InputError, match=r"train\.batch_size: 60000 .* has (\d+) clips: (\d+) or less") as caught:
        run.fit()
    clips, most = map(int, re.findall(r"has (\d+) clips: (\d+) or", str(caught.value))[0])
    settings = run.config
    does = replace(settings, train=replace(settings.train, batch_size=most))
    assert (len(TrainingData(does, run.labels).order), len(TrainingData(does, run.labels))) == (clips, 1)


@pytest.mark.parametrize("kept", ["nothing", "other words"])
def test_no_clip_to_validate_with_is_known_before_sound_is_read(
    config_file,
    data_folder,
    tmp_path,
    monkeypatch,
    kept,
):
    folder = tmp_path / "data"
    for word in ("high", "low", "bursts"):
        (folder / word).mkdir(parents=True)
        parts = ("training", "validation") if kept == "other words" and word == "bursts" else ("training",)
        for name in (name for part in parts for name in speakers(part, 3)):
            shutil.copy(data_folder / word / f"{name}_nohash_0.wav", folder / word)

    def read(*_, **__):
        raise AssertionError("sound was read")

    monkeypatch.setattr(audio, "load", read)
    with pytest.raises(InputError, match=r"data\.folder: .* for validation: .*validation_list\.txt"):
        start(config_file, tmp_path / "run", f"data.folder={folder}").fit()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.folder=", "data.folder: is not set"),
        ("data.folder=missing", "missing: no such folder"),
        ("data.folder=" + "n" * 300, "n" * 300),
        ("data.task=high,absent", "data.task: .* absent"),
    ],
)
def test_a_folder_without_what_is_needed_is_named(config_file, tmp_path, override, named):
    with pytest.raises(InputError, match=named) as caught:
        start(config_file, tmp_path / "run", override).fit()
    assert "\n" not in str(caught.value)
