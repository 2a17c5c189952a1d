"""Sound without an end: each hour is heard as the first was, and memory stays."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import speechrnn
from speechrnn import long_run, timing
from speechrnn.cli import bench
from speechrnn.errors import InputError
from speechrnn.model import shipped
from tests.support.command_line import refused, run

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "examples" / "yes.wav"
SMALL = shipped("gru-12-small")
HOUR = 90.0  # seconds, for a test


@pytest.fixture(scope="module")
def short():
    """Four hours of a minute and a half, and half of another."""
    heard = []
    return long_run.run(SMALL, 4.5 * HOUR, CLIP, HOUR, heard.append), heard


def test_the_word_is_found_in_each_hour_as_in_the_first(short):
    assert [hour.hour for hour in short[0].hours] == [1, 2, 3, 4]
    assert all(hour.found for hour in short[0].hours)
    assert max(hour.difference for hour in short[0].hours) < bench.SAME
    assert short[0].hours[0].difference == 0.0
    assert all(hour.probability == pytest.approx(short[0].hours[0].probability, abs=1e-3) for hour in short[0].hours)


def test_memory_stays(short):
    assert 10.0 < short[0].minute_MB <= short[0].end_MB
    assert short[0].memory_ratio < bench.FLAT


def test_all_of_the_sound_is_heard(short):
    assert sum(short[1]) == pytest.approx(4.5 * HOUR)


def test_what_leaks_and_what_forgets_is_noticed(short):
    def complaints(**changes):
        return list(bench._complaints(SMALL, replace(short[0], **changes)))

    second = short[0].hours[1]
    assert complaints() == []
    [missed] = complaints(hours=(short[0].hours[0], replace(second, found=False)))
    assert "hour 2" in missed
    [drifted] = complaints(hours=(short[0].hours[0], replace(second, difference=2e-3)))
    assert "2.0e-03" in drifted
    [grown] = complaints(end_MB=1.2 * short[0].minute_MB)
    assert "1.20 times" in grown


def test_the_quiet_minute_is_always_the_same_with_the_clip_in_its_middle():
    clip = np.full(100, 0.5, np.float32)
    minute = long_run.quiet_minute(clip, 1_000)
    assert minute.dtype == np.float32
    assert np.array_equal(minute, long_run.quiet_minute(clip, 1_000))
    assert np.flatnonzero(np.abs(minute) > 0.4).tolist() == list(range(450, 550))


def test_the_figures_are_in_the_table_and_in_the_json(monkeypatch):
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "BLOCKS", 2)
    monkeypatch.setattr(bench, "_cold_start", lambda path: 0.25)
    hours = tuple(long_run.Hour(number, number != 3, 0.9, number * 1e-5, 80.0) for number in (1, 2, 3))
    monkeypatch.setattr(long_run, "run", lambda *some, **more: long_run.LongRun(80.0, 80.0, hours))
    command = "bench", SMALL, "--hours", "3", "--clip", CLIP
    shown = run(*command, "--json")
    assert shown.returncode == 1
    assert "wasn't found in hour 3" in shown.stderr
    [row] = json.loads(shown.stdout)
    assert row["memory_ratio_after_hours"] == 1.0
    assert row["hours_with_word_found"] == "2 of 3"
    assert row["largest_difference_of_probability"] == pytest.approx(3e-5)
    assert [hour["found"] for hour in row["each_hour"]] == [True, True, False]
    table = run(*command).stdout
    assert "2 of 3" in table
    assert table.count("found") == 3
    assert table.count("missed") == 1


def test_a_clip_without_hours_or_without_a_word_is_refused(tmp_path):
    refused(run("bench", SMALL, "--clip", CLIP), "--hours")
    refused(run("bench", SMALL, "--clip", ROOT / "examples" / "marvin.wav", "--hours", "1"), "marvin.wav", "_unknown_")
    refused(run("bench", SMALL, "--clip", tmp_path / "none.wav", "--hours", "1"), "none.wav")


def test_a_run_that_dies_is_told(tmp_path):
    with pytest.raises(InputError, match="ended early"):
        long_run.run(tmp_path / "none.onnx", 60.0)


def test_the_clip_is_at_the_same_place_in_the_blocks():
    told = list(long_run.listen(SMALL, 150.01, 75.005, CLIP))
    hours = [each for each in told if "hour" in each]
    assert len(hours) == 2
    assert hours[1]["difference"] < 1e-3
    assert speechrnn.load(SMALL).card.block_length == 320, "or 75.005 s are whole blocks"


def test_whoever_stops_it_ends_its_process():
    def stop(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        long_run.run(SMALL, 1e7, advance=stop)
