"""The command that makes the page's folder: what is in it, and what it refuses without leaving anything behind."""

import json
import os

import onnx
import pytest
import typer

import speechrnn
from export.web import build as building
from export.web.build import PACKAGE, RUNTIME_FILES
from tests.support.command_line import MODELS, ROOT, refused, run
from tests.support.page import build


def fails(*arguments, names):
    refused(run(*arguments, start=lambda: typer.run(building.main)), *names)


def test_the_folder_holds_the_model_unchanged_and_everything_that_it_lists(tmp_path, onnxruntime_web):
    site = tmp_path / "site"
    shown = build(site, "--runtime", onnxruntime_web)
    assert str(site) in shown.stdout
    assert (site / "model.onnx").read_bytes() == speechrnn.load().path.read_bytes()
    listed = json.loads((site / "files.js").read_text().partition("FILES = ")[2].rstrip(";\n"))
    there = {f"./{path.relative_to(site).as_posix()}" for path in site.rglob("*") if path.is_file()}
    assert {"./", *there} == {*listed, "./files.js", "./service_worker.js", "./"}
    assert site.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in site.parent.iterdir()] == ["site"]


def test_what_runs_it_is_not_in_the_repository():
    kept = {".html", ".css", ".js", ".svg", ".webmanifest"}
    page = ROOT / "export" / "web" / "page"
    assert {path.suffix for path in page.rglob("*") if path.is_file()} == kept
    assert sum(path.stat().st_size for path in page.rglob("*")) < 100_000


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_is_not_ours_is_refused_and_nothing_is_left(tmp_path, onnxruntime_web, case):
    model = tmp_path / f"{case}.onnx"
    model.write_bytes(MODELS[case](onnx.load(speechrnn.load().path)))
    fails(tmp_path / "site", "--model", model, "--runtime", onnxruntime_web, names=[model])
    assert list(tmp_path.iterdir()) == [model]


@pytest.mark.parametrize("place", ["missing/site", "file", "file/site", "full", "n" * 300])
def test_a_place_that_is_no_good_is_refused_and_nothing_is_left(tmp_path, onnxruntime_web, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    fails(tmp_path / place, "--runtime", onnxruntime_web, names=[tmp_path / place])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_that_takes_no_files_is_refused(tmp_path, onnxruntime_web, monkeypatch):
    def full(*arguments, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building.shutil, "copyfile", full)
    fails(tmp_path / "site", "--runtime", onnxruntime_web, names=[tmp_path / "site", "No space left"])
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_page_is_kept_when_a_new_one_fails(tmp_path, onnxruntime_web, monkeypatch):
    site = tmp_path / "site"
    build(site, "--runtime", onnxruntime_web)
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}

    def full(*arguments, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building.shutil, "copyfile", full)
    fails(site, "--runtime", onnxruntime_web, names=[site])
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [site]


def packages(folder):
    """Directories that aren't the package."""
    version = json.loads((ROOT / "export" / "web" / "package.json").read_text())["dependencies"][PACKAGE]
    contents = {
        "missing": None,
        "no-json": "{",
        "a-list": "[]",
        "foreign": json.dumps({"name": "left-pad", "version": version}),
        "old": json.dumps({"name": PACKAGE, "version": "1.0.0"}),
        "without-files": json.dumps({"name": PACKAGE, "version": version}),
    }
    for name, text in contents.items():
        if text is not None:
            (folder / name).mkdir()
            (folder / name / "package.json").write_text(text)


@pytest.mark.parametrize("case", ["missing", "no-json", "a-list", "foreign", "old", "without-files"])
def test_a_folder_that_is_not_the_package_is_refused(tmp_path, case):
    packages(tmp_path)
    fails(tmp_path / "site", "--runtime", tmp_path / case, names=["--runtime", tmp_path / case, PACKAGE])
    assert not (tmp_path / "site").exists()


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = run(tmp_path / "site", start=lambda: typer.run(building.main))
    assert "npm" in shown.stderr.splitlines()[-1]
    assert "--runtime" in shown.stderr
    assert shown.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_npm_that_fails_is_reported_in_one_line(tmp_path, monkeypatch):
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho first >&2\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
    shown = run(tmp_path / "site", start=lambda: typer.run(building.main))
    assert "no network" in shown.stderr
    assert shown.returncode == 2
    assert not (tmp_path / "site").exists()


def test_the_files_that_run_it_are_in_the_package(onnxruntime_web):
    assert all((onnxruntime_web / "dist" / name).stat().st_size > 10_000 for name in RUNTIME_FILES)
