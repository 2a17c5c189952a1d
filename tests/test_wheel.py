"""The wheel holds the package and nothing else, is typed for those who use it, and names no package that isn't ours."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechrnn import installation
from speechrnn.installation import install_command
from tests.support.command_line import ROOT

PROGRAM = '''
"""What a user writes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import numpy as np

import speechrnn
from speechrnn import Classification, Detection, Model, audio
from speechrnn.errors import AudioError, InputError, ModelError


def label(model: Model, clip: Path) -> str:
    heard = assert_type(model.classify(clip), Classification)
    assert_type(heard.probability, float)
    assert_type(heard.posterior, dict[str, float])
    return heard.label


def words(recording: str) -> Iterator[Detection]:
    spotter = speechrnn.Spotter(speechrnn.load("gru-12-small"), thresholds={"yes": 0.9}, words=["yes", "no"])
    for block in audio.blocks(recording, seconds=1.0):
        yield from spotter.process(block)
    yield from assert_type(spotter.finish(), list[Detection])


def main() -> int:
    clip = Path(sys.argv[1])
    try:
        model = speechrnn.load()
        print(label(model, clip), label(speechrnn.load(model.path), clip))
    except (AudioError, ModelError) as error:
        print(assert_type(str(error), str))
        return 2
    except InputError:
        return 3
    for detection in words(str(clip)):
        print(f"{detection.time:.1f} {detection.label.upper()}")
    for result in model.classify_many([clip, clip.read_bytes(), np.zeros(16_000, np.float32)], workers=1):
        print(result.label if not isinstance(result, AudioError) else "none")
    samples = audio.load(clip, max_seconds=10)
    return 0 if len(samples) == samples.shape[0] and isinstance(model.card.words[0], str) else 1


if __name__ == "__main__":
    sys.exit(main())
'''


def python(*arguments, **more):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, env=environment, **more)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as pip builds it; without the network where hatchling is at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    at_hand = ["--no-build-isolation", "--no-index"] if importlib.util.find_spec("hatchling") else []
    built = python(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *at_hand, "-w", folder, ROOT)
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment with the wheel in it, which takes the dependencies from ours."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    program = folder / "bin" / "python"
    done = python(sys.executable, "-m", "pip", "--python", program, "install", "-q", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    site = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return program


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"speechrnn"}
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "speechrnn").rglob("*") if path.is_file()}
    packed = {name for name in names if name.startswith("speechrnn/")}
    examples = {f"speechrnn/examples/{path.name}" for path in (ROOT / "examples").iterdir()}
    assert packed == {name for name in source if "__pycache__" not in name} | examples
    assert {"speechrnn/py.typed", "speechrnn/models/gru-12.onnx", "speechrnn/models/gru-12-small.onnx"} <= packed
    assert not [name for name in packed if re.search(r"(^|/)(tests?|data_scripts)/", name)]
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "ATTRIBUTION.md"}


def test_it_declares_what_pyproject_declares(wheel):
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(archive.read(name).decode())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plain = [line for line in metadata.get_all("Requires-Dist") if "extra" not in line]
    assert {re.match(r"[\w-]+", line)[0] for line in plain} == {
        re.match(r"[\w-]+", line)[0] for line in project["dependencies"]
    }
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])


def test_a_user_s_program_is_checked_strictly_against_the_wheel(installed, program):
    arguments = "--strict", "--python-executable", installed, "--cache-dir", program.parent / "cache", program
    checked = python(sys.executable, "-m", "mypy", *arguments, cwd=program.parent)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    program.write_text(PROGRAM.replace("heard.label", "heard.lable"))
    spoilt = python(sys.executable, "-m", "mypy", *arguments, cwd=program.parent)
    assert "lable" in spoilt.stdout, "or nothing of the package was read"


def test_it_runs_with_the_wheel(installed, program):
    shown = python(installed, program, ROOT / "examples" / "yes.wav", cwd=program.parent)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == ["yes yes", *shown.stdout.splitlines()[1:-3], "yes", "yes", "_silence_"]


def test_an_installed_hint_names_what_it_was_installed_from(installed, wheel, tmp_path):
    code = "from speechrnn.installation import install_command; print(install_command('plot'))"
    assert python(installed, "-c", code, cwd=tmp_path).stdout == f"pip install '{wheel}[plot]'\n"


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({}, "pip install 'speechrnn[train]'"),  # from an index, under this name
        (None, "pip install 'speechrnn[train]'"),
        ({"url": "file:///none/speechrnn", "dir_info": {}}, "pip install '.[train]' in a checkout of speechrnn"),
        (
            {"url": "https://x.org/y.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}},
            "pip install 'speechrnn[train] @ git+https://x.org/y.git@12ab'",
        ),
        ({"url": "https://x.org/y.whl"}, "pip install 'speechrnn[train] @ https://x.org/y.whl'"),
    ],
)
def test_hints_name_where_the_package_came_from(monkeypatch, tmp_path, origin, command):
    """None: an installation that doesn't say."""

    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr(installation, "__file__", str(tmp_path / "speechrnn" / "installation.py"))
    monkeypatch.setattr(installation, "distribution", lambda name: Distribution())
    assert install_command("train") == command


def test_in_a_checkout_the_hint_names_its_folder(monkeypatch, tmp_path):
    assert install_command("train") == f"pip install '{ROOT}[train]'"
    here = tmp_path / "with a blank"
    here.mkdir()
    (here / "pyproject.toml").touch()
    monkeypatch.setattr(installation, "__file__", str(here / "speechrnn" / "installation.py"))
    assert install_command("plot") == f"pip install '{here}[plot]'"


def test_no_text_names_our_package_as_if_an_index_had_it():
    """Whoever types it would get what a stranger has put there."""
    folders = ("speechrnn", "export", "data_scripts", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    suffixes = {".py", ".md", ".service", ".html", ".js", ".c"}
    texts = [path for path in (*files, ROOT / "README.md") if path.suffix in suffixes]
    assert len(texts) > 50
    said = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in texts
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"(pip|uv|pipx) (tool )?install [^`&]*?(?<![\w/.-])speechrnn\b(?! ?@)", line)
    }
    assert said == set()


SETTINGS = """
name = "alone"
[data]
folder = "data"
task = "yes,no"
[network]
first_channels = 4
channels = 8
residual_layers = 0
features = 16
hidden_size = 16
[stream]
rows = 0
[train]
epochs = 1
batch_size = 8
workers = 0
"""


@pytest.mark.slow
def test_a_wheel_alone_trains_exports_calibrates_quantizes_and_writes_c(installed, tmp_path):
    """No checkout is near: the programs stand in an empty folder, with clips of noise beside them."""
    rng = np.random.default_rng(0)
    for folder in ("data/yes", "data/no", "data/_background_noise_", "others"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(40):
            soundfile.write(tmp_path / folder / f"{i}_nohash_0.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    (tmp_path / "alone.toml").write_text(SETTINGS)

    def speechrnn(*arguments):
        done = python(installed, "-m", "speechrnn", *arguments, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    shown = speechrnn("train", "alone.toml")
    assert shown.splitlines()[-1] == "export it: speechrnn export runs/alone/best.pt -o alone.onnx"
    speechrnn("export", "runs/alone/best.pt", "-o", "alone.onnx")
    folders = "--commands", "data", "--speech", "others", "--noise", "others"
    shown = speechrnn("calibrate", "alone.onnx", "calibrated.onnx", "--threshold", "0.9", *folders)
    assert "false accepts per hour" in shown
    speechrnn("quantize", "calibrated.onnx", "small.onnx", "--weights", "float16")
    speechrnn("to-c", "calibrated.onnx", "c", "--weights", "int8")
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"speechrnn.h", "speechrnn.c", "main.c"}
    assert "float16" in speechrnn("info", "small.onnx")
    assert speechrnn("classify", "data/yes/0_nohash_0.wav", "--model", "small.onnx").split()[0].endswith(".wav")
