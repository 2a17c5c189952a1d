"""Nothing leaves the machine: no door looks up a host, opens a connection or leaves a file in the user's home.

Each door runs under strace in an empty home, with nothing else in its environment: some libraries keep quiet where `CI`
is set, so a test that inherits it sees nothing.
"""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import needs

from speechrnn.training.corpus import BACKGROUND
from speechrnn.training.partition import partition

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "examples" / "yes.wav"
SPEECHRNN = [sys.executable, "-m", "speechrnn"]
SPAWNED = """
import multiprocessing, speechrnn

def label(path):
    return speechrnn.load().classify(path).label

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(label, [{clip!r}]))
"""
LATER = """
import speechrnn
import onnxruntime
print(onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"]).get_inputs()[0].name)
"""
MODEL = ROOT / "speechrnn" / "models" / "gru-12-small.onnx"


def program(folder, text):
    path = folder / "program.py"
    path.write_text(text.format(clip=str(CLIP), model=str(MODEL)))
    return [sys.executable, str(path)]


DOORS = {
    "classify": lambda folder: [*SPEECHRNN, "classify", str(CLIP)],
    "spot": lambda folder: [*SPEECHRNN, "spot", str(CLIP), "--format", "jsonl"],
    "listen": lambda folder: [*SPEECHRNN, "listen", str(CLIP), "--realtime"],
    "info": lambda folder: [*SPEECHRNN, "info"],
    "score": lambda folder: [*SPEECHRNN, "score", str(CLIP), "--no-labels"],
    "evaluate": lambda folder: [*SPEECHRNN, "evaluate", str(words(folder)), "--workers", "2"],
    "plot": lambda folder: [*SPEECHRNN, "plot", str(CLIP), "-o", str(folder / "yes.png")],
    "the 30-line example": lambda folder: [
        *(sys.executable, str(ROOT / "export" / "examples" / "spot.py")),
        *(str(MODEL), str(CLIP)),
    ],
    "export": lambda folder: [sys.executable, "-m", "export.to_c", "gru-12-small", str(folder / "c")],
    "a data script": lambda folder: [
        *(sys.executable, "-m", "data_scripts.suspects"),
        *(str(words(folder)), str(folder / "suspects.txt"), "--model", str(MODEL)),
    ],
    "training, with a worker": lambda folder: [
        *(*SPEECHRNN, "train", str(tiny_training(folder))),
        *("--run-folder", str(folder / "run")),
    ],
    "a spawned process": lambda folder: program(folder, SPAWNED),
    "onnxruntime, imported after us": lambda folder: program(folder, LATER),
}


def words(folder):
    """Clips of two words for training and for validation, and a background, in the Speech Commands layout."""
    for word in ("yes", "no", BACKGROUND):
        (folder / word).mkdir()
    for part in ("training", "validation"):
        names = (f"{number:08x}_nohash_0.wav" for number in range(1000))
        for name in itertools.islice((name for name in names if partition(name) == part), 4):
            for word in ("yes", "no"):
                shutil.copy(ROOT / "examples" / f"{word}.wav", folder / word / name)
    hum = 0.01 * np.random.default_rng(0).standard_normal(10 * 16_000)
    soundfile.write(folder / BACKGROUND / "hum.wav", hum, 16_000)
    return folder


def tiny_training(folder):
    words(folder)
    path = folder / "tiny.toml"
    path.write_text(
        f"""
[data]
folder = {json.dumps(str(folder))}
task = "yes,no"
[network]
first_channels = 4
channels = 4
residual_layers = 0
features = 8
hidden_size = 8
[stream]
rows = 0
[train]
epochs = 1
batch_size = 4
workers = 1
accelerator = "cpu"
"""
    )
    return path


@pytest.mark.parametrize("door", DOORS)
def test_a_door_looks_up_nothing_and_leaves_nothing_at_home(tmp_path, door):
    home, work, trace = tmp_path / "home", tmp_path / "work", tmp_path / "trace"
    home.mkdir()
    work.mkdir()
    environment = {  # nothing else, above all no CI
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    watch = [needs("strace"), "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", "trace=network,open,openat"]
    command = [*watch, *DOORS[door](work)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    calls = trace.read_text()
    assert "onnxruntime_pybind11_state" in calls  # it was there to report
    assert re.findall(r".*AF_INET.*", calls) == []
    assert re.findall(r".*(?:resolv\.conf|/etc/hosts).*", calls) == []
    left = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert [path for path in left if "matplotlib" not in path.parts] == []  # a picture's list of fonts


def test_onnxruntime_is_imported_in_one_place():
    """And in the example, which stands alone: each of them sets what keeps it quiet before."""
    importers = set()
    folders = ("speechrnn", "export", "data_scripts", "research")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "onnxruntime" for name in names):
                importers.add(path.relative_to(ROOT).as_posix())
    assert importers == {"speechrnn/inference.py", "export/examples/spot.py"}
