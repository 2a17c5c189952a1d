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


def test_the_first_commands_install_and_classify_and_install_and_test():
    first, second = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)[:2]
    assert first == "pip install . && speechrnn classify examples"
    assert second == "pip install '.[dev]' && pytest"


def test_the_output_shown_is_the_output():
    shown = re.search(r"This is what it prints:\n\n```\n(.*?)```", README, flags=re.DOTALL).group(1)
    command = [sys.executable, "-m", "speechrnn", "classify", "examples"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[:2] for line in shown.splitlines()] == [line.split()[:2] for line in printed.splitlines()]


def test_the_python_example_runs():
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("yes ")


def test_every_file_that_it_or_the_page_on_training_names_is_there():
    training = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    for name in re.findall(r"(?:configs|docs|research|speechrnn/models)/[\w./-]+\.\w+", README + training):
        assert (ROOT / name).is_file(), name
