"""Who labels sound needs none of what training needs, and labelling one file starts fast."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from speechrnn.cli import VERBS as VERBS_OF_THE_COMMAND
from speechrnn.evaluation.partition import partition
from tests.support.command_line import ROOT

# Whoever asks for one of these, even in a `try`, fails.
REFUSE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchaudio", "librosa", "scipy", "sklearn", "onnx", "lightning_fabric"}:
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
"""
VERBS = """
from speechrnn import cli

def run(*arguments):
    sys.argv = ["speechrnn", *arguments]
    try:
        cli.run()
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
"""
LOADED = """
import json
sys.stderr.write(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.fixture
def folder(tmp_path):
    """Clips at a rate that needs resampling, in a folder for each word, and noise."""
    for i, word in enumerate(("yes", "house", "_background_noise_")):
        (tmp_path / word).mkdir()
        samples = np.random.default_rng(i).uniform(-0.1, 0.1, 88_200)
        soundfile.write(tmp_path / word / "clip.wav", samples, 44_100)
    return tmp_path


def python(program, *arguments):
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return shown


def test_the_blocker_of_these_tests_blocks():
    blocked = "try:\n import torch\nexcept ImportError:\n pass\nexcept AssertionError:\n print('blocked')"
    assert python(REFUSE + blocked).stdout == "blocked\n"


def test_every_module_of_the_runtime_is_imported_without_torch():
    imports = """
import importlib, pkgutil, speechrnn, speechrnn.cli, speechrnn.evaluation
packages = speechrnn, speechrnn.cli, speechrnn.evaluation
names = {m.name for package in packages for m in pkgutil.iter_modules(package.__path__, package.__name__ + ".")}
for name in names - {"speechrnn.training"}:
    importlib.import_module(name)
    print(name)
"""
    names = python(REFUSE + imports).stdout.split()
    assert {f"speechrnn.{name}" for name in ("model", "pictures", "spotter", "evaluation.scoring")} <= set(names)
    assert {f"speechrnn.cli.{verb.replace('-', '_')}" for verb in VERBS_OF_THE_COMMAND} <= set(names)


def test_every_verb_of_the_runtime_works_without_torch(folder):
    verbs = """
folder, part = sys.argv[1:]
run("classify", folder, "--top", "2")
run("spot", folder)
run("listen", folder + "/yes/clip.wav")
run("info")
run("evaluate", folder, "--picture", folder + "/confusions.png")
run("evaluate", folder, "--partition", part, "--json")
run("plot", folder + "/yes/clip.wav", "-o", folder + "/clip.png")
for verb in cli.VERBS:
    run(verb, "--help")
"""
    shown = python(REFUSE + VERBS + verbs, folder, partition("clip.wav"))
    assert "accuracy" in shown.stdout
    assert (folder / "confusions.png").stat().st_size > 0
    assert (folder / "clip.png").stat().st_size > 0


def test_words_are_spotted_from_python_without_torch(folder):
    program = """
import sys, speechrnn
from speechrnn import audio
spotter = speechrnn.Spotter(speechrnn.load())
found = spotter.process(audio.load(sys.argv[1])) + spotter.finish()
print(len(found), spotter.seconds)
"""
    shown = python(REFUSE + program, folder / "yes" / "clip.wav").stdout.split()
    assert float(shown[1]) >= 2.0


def test_a_clip_is_labelled_from_python_without_torch(folder):
    program = "import speechrnn; print(speechrnn.load().classify(sys.argv[1]).label)"
    assert python(REFUSE + program, folder / "yes" / "clip.wav").stdout.strip()


def test_labelling_one_file_loads_neither_rich_nor_matplotlib(folder):
    clip = folder / "yes" / "clip.wav"
    soundfile.write(clip, np.zeros(16_000), 16_000)
    loaded = set(json.loads(python("import sys" + VERBS + "run('classify', sys.argv[1])" + LOADED, clip).stderr))
    assert "onnxruntime" in loaded
    assert loaded & {"rich", "matplotlib", "soxr", "sounddevice", "torch", "scipy"} == set()


def test_import_of_the_package_loads_nothing_heavy():
    loaded = set(json.loads(python("import sys, speechrnn" + LOADED).stderr))
    assert loaded & {"numpy", "onnxruntime", "soundfile", "typer", "rich"} == set()
