"""The ways to compute mel power are the same computation, and the one in use keeps what stands beside a loud tone."""

import onnxruntime
import pytest
import torch

from benchmarks.front_ends import WAYS, build, main, tone_above_noise, weight_bytes
from speechrnn.training.config import FrontEndConfig
from speechrnn.training.front_end import FrontEnd
from tests.support.sound_kinds import sounds

pytestmark = pytest.mark.usefixtures("one_thread")
USED = next(name for name in WAYS if "used" in name)


def difference(name, heard):
    front_end = FrontEnd(FrontEndConfig()).eval()
    graph = build(WAYS[name], front_end).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    expected = torch.log(front_end.mel_power(heard) + front_end.config.log_offset)
    found = torch.from_numpy(session.run(None, {"sound": heard.numpy()})[0])
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("hops", [2, 50])
def test_all_ways_give_the_frames_of_the_front_end(name, hops):
    assert difference(name, sounds(320 + 160 * hops)) < 1e-3


def test_the_way_in_use_keeps_what_stands_beside_a_loud_tone():
    heard = torch.from_numpy(tone_above_noise(320 + 8000))
    assert difference(USED, heard) < 1e-5
    assert difference("dense convolution", heard) > 1e-4  # so it isn't easy


def test_the_way_in_use_has_at_most_20_kilobytes_of_weights():
    assert weight_bytes(build(WAYS[USED], FrontEnd(FrontEndConfig()))) <= 20_000


def test_the_table_has_every_way_and_holds_them_against_the_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(rounds=1)
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row[1].strip() for row in rows] == list(WAYS)
    assert rows[0][5].strip() == rows[0][7].strip() == "1.00"
    assert all(float(cell) > 0 for row in rows for cell in row[4:8])
