"""The benchmark command prints ratios to a reference that it runs itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import command_line

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_it_prints_a_ratio_for_each_measure():
    command = [sys.executable, "-m", "benchmarks.command_line", "--clips", "10", "--rounds", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    ratios = [float(r) for r in re.findall(r"([\d.]+) times", result.stdout)]
    assert len(ratios) == 2
    assert min(ratios) > 0


def test_made_up_clips_are_a_second_of_sound(tmp_path):
    command_line.make_clips(tmp_path, 3)
    from speechrnn import audio

    assert [len(audio.load(file)) for file in audio.sound_files(tmp_path)] == [16_000] * 3


def test_a_missing_folder_is_one_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.command_line", str(tmp_path / "none")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "none" in result.stderr


@pytest.mark.parametrize("option", ["--clips=1", "--rounds=0"])
def test_counts_that_measure_nothing_are_refused(option):
    command = [sys.executable, "-m", "benchmarks.command_line", option]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 2
