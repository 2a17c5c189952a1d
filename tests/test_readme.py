"""What the README promises is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import speechrnn

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.wav"))


def test_the_examples_are_heard_right():
    model = speechrnn.load()
    expected = {clip.stem: clip.stem if clip.stem in model.card.words else "_unknown_" for clip in EXAMPLES}
    assert {clip.stem: model.classify(clip).label for clip in EXAMPLES} == expected


def test_the_examples_cover_words_and_others_in_little_space():
    names = {clip.stem for clip in EXAMPLES}
    assert len(names & set(speechrnn.load().card.words)) >= 4
    assert names - set(speechrnn.load().card.words)
    assert sum(clip.stat().st_size for clip in EXAMPLES) < 200_000


def blocks(*languages):
    """What stands in the README's blocks of these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


def test_it_installs_and_classifies_and_installs_and_tests():
    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    assert any("pip install ." in line for line in lines)
    assert any(re.search(r"\bspeechrnn classify examples\b", line) for line in lines)
    tests = next(line for line in lines if line.endswith("pytest"))
    assert tests.replace("pip install", "pip install --quiet") in (ROOT / ".ci/run").read_text().splitlines()


def test_the_output_shown_is_the_output():
    shown = next(block for block in blocks("", "text") if block.startswith("examples/"))
    command = [sys.executable, "-m", "speechrnn", "classify", "examples"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[:2] for line in shown.splitlines()] == [line.split()[:2] for line in printed.splitlines()]


def test_the_first_python_example_runs():
    code = blocks("python")[0]
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "yes" in printed


def test_every_file_that_it_or_the_page_on_training_names_is_there():
    training = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    for name in re.findall(r"(?:configs|docs|research|speechrnn/models)/[\w./-]+\.\w+", README + training):
        assert (ROOT / name).is_file(), name
