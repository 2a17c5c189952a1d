"""Every command of export, data_scripts and training says in one line what to install where a package is missing."""

import os
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import benchmarks
import data_scripts
import export
import export.web
import research
import speechrnn.training
from speechrnn.installation import install_command
from speechrnn.programs import missing_package

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "speechrnn" / "models" / "gru-12-small.onnx"
LIGHT = {"numpy", "onnxruntime", "soundfile", "soxr", "sounddevice", "typer", "rich"}
# An environment with the light dependencies only: nothing else is found.
SITE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
HEAVY = (
    *("torch", "torchaudio", "librosa", "scipy", "sklearn", "onnx", "lightning_fabric", "tensorboard", "matplotlib"),
    *("PIL", "kokoro_onnx", "numba"),
)


def commands():
    """Modules with a command line of their own."""
    found = []
    for package in (export, export.web, benchmarks, data_scripts, research, speechrnn.training):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            file = Path(package.__path__[0]) / f"{module.name.rpartition('.')[2]}.py"
            if file.is_file() and 'if __name__ == "__main__":' in file.read_text(encoding="utf-8"):
                found.append(module.name.removesuffix(".__main__"))
    return found


NEED_NOTHING = {  # but the light dependencies, for their --help at least
    *("benchmarks.own_words", "data_scripts.background_pack", "data_scripts.beds", "data_scripts.check"),
    *("data_scripts.download", "data_scripts.kinds"),
    *("data_scripts.make_stream", "data_scripts.suspects", "data_scripts.synthesize", "data_scripts.validate"),
    *(
        "benchmarks.command_line",
        "research.table",
        "export.web",
        "export.to_onnx",
        "export.calibrate",
        "export.quantize",
        "export.to_c",
    ),
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Run a module in an environment with the light dependencies only."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(SITE.format(missing=set(HEAVY)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}

    def answer(*arguments):
        command = [sys.executable, "-m", *map(str, arguments)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return answer


@pytest.fixture(scope="module")
def light(ask):
    """What each command answers to --help."""
    names = commands()
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(lambda name: ask(name, "--help"), names), strict=True))


@pytest.mark.parametrize(
    ("verb", "extra"), [("export", "train"), ("calibrate", "export"), ("quantize", "export"), ("to-c", "export")]
)
def test_a_verb_without_its_extra_says_what_to_install_in_one_line(ask, tmp_path, verb, extra):
    (tmp_path / "best.pt").touch()
    source, out = (tmp_path / "best.pt", "-o") if verb == "export" else (MODEL, None)
    shown = ask("speechrnn", verb, source, *filter(None, (out, tmp_path / "made")))
    (line,) = shown.stderr.splitlines()
    assert line.startswith("speechrnn: this needs ")
    assert line.endswith(f": {install_command(extra)}")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_all_commands_are_looked_at(light):
    assert {"export.to_c", "export.to_onnx", "export.quantize", "export.calibrate", "benchmarks.family"} <= light.keys()
    assert {"data_scripts.hints", "research.compare", "research.draw_reach", "data_scripts.teacher"} <= light.keys()
    assert {"speechrnn.training.average", *NEED_NOTHING} <= light.keys()


def test_a_command_says_what_to_install_in_one_line(light):
    for name in light.keys() - NEED_NOTHING:
        shown = light[name]
        assert shown.returncode == 2, (name, shown.stderr)
        (line,) = shown.stderr.splitlines()
        assert line.startswith("speechrnn: this needs "), (name, line)
        assert line.endswith(tuple(f": {install_command(extra)}" for extra in ("train", "plot", "export"))), (
            name,
            line,
        )
        assert shown.stdout == ""


def test_a_command_that_needs_no_more_shows_its_help(light):
    for name in NEED_NOTHING:
        assert light[name].returncode == 0, (name, light[name].stderr)
        assert "Example" in light[name].stdout


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), "needs onnx: {export}"),
        (ModuleNotFoundError("...", name="torch.utils"), "needs torch: {train}"),
        (ModuleNotFoundError("...", name="matplotlib.figure"), "needs matplotlib: {plot}"),
        (ModuleNotFoundError("...", name="PIL"), "needs PIL: {plot}"),
        (ModuleNotFoundError("...", name="soxr"), "needs soxr: pip install soxr"),
        (ImportError("cannot import name 'x'", name="torch"), "needs torch (cannot import name 'x'): {train}"),
    ],
)
def test_what_is_missing_is_named_with_what_brings_it(error, line):
    commands = {extra: install_command(extra) for extra in ("train", "plot", "export")}
    assert missing_package(error) == f"this {line.format(**commands)}"


@pytest.mark.parametrize("name", ["speechrnn.nothing", "export.nothing", "data_scripts", None])
def test_a_fault_of_ours_is_not_called_a_missing_package(name):
    assert missing_package(ModuleNotFoundError("...", name=name)) is None
