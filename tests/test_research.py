"""Every experiment has a question, whole settings, figures and a verdict, and the page of all of them is up to date."""

import json
import math
import re
import shlex
from itertools import pairwise

import pytest

from research.compare import read_plan
from research.table import HERE, PAGE, figures, folders, page, part
from speechrnn.training import config, toml_files

EXPERIMENTS = pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
ROOT = HERE.parent
SETTINGS = sorted(path for path in (*HERE.rglob("*.toml"), *ROOT.glob("configs/*.toml")) if path.name != "plan.toml")


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m research.table"


@EXPERIMENTS
def test_an_experiment_says_what_was_asked_how_and_what_came_of_it(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert part(text, "Question").endswith("?")
    assert part(text, "Verdict").endswith(".")
    assert "```sh\n" in text
    for name in re.findall(r"(?:configs|research|docs)/[\w./-]+\.(?:toml|txt|md|pt)", text):
        assert (ROOT / name).is_file(), name


@EXPERIMENTS
def test_its_trainings_have_settings_that_are_valid(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (folder / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("speechrnn train "):
            words = shlex.split(line, comments=True)
            config.load(words[2], [value for option, value in pairwise(words) if option == "--set"])


@EXPERIMENTS
def test_figures_are_numbers_or_names(folder):
    runs = json.loads((folder / "result.json").read_text(encoding="utf-8"))["runs"]
    assert runs
    for run in runs.values():
        for name, value in run.items():
            assert isinstance(value, str) or math.isfinite(value), name


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_settings_are_whole_and_valid(path):
    assert "base" not in toml_files.read(path)
    assert config.load(path).data.folder


@pytest.mark.parametrize("path", sorted(HERE.glob("*/plan.toml")), ids=lambda path: path.parent.name)
def test_plans_are_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert read_plan(path).variants


def test_a_table_has_a_row_for_each_figure_or_for_each_run():
    runs = {"a": {"x": 1, "y": 2}, "b": {"x": 3}}
    assert list(figures(runs)) == ["| | a | b |", "|---|---|---|", "| x | 1 | 3 |", "| y | 2 |  |"]
    assert list(figures({**runs, "c": {"y": 5}}))[2:] == ["| a | 1 | 2 |", "| b | 3 |  |", "| c |  | 5 |"]
