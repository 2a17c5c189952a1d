"""How far back a gradient reaches: an estimate held against the whole Jacobian, and the picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from research.draw_reach import EXPLODING, app, fresh, reach
from speechrnn.training.config import Config
from speechrnn.training.network import Recognizer

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(blocks, batch=1):
    generator = torch.Generator().manual_seed(1)
    return 0.1 * torch.randn(batch, blocks * 320, generator=generator)


def test_the_estimate_is_the_norm_of_the_jacobian():
    torch.manual_seed(0)
    small = replace(Config().network, features=5, hidden_size=4, layers=1)
    model = Recognizer(replace(Config(), network=small), ("word", "_silence_")).eval()
    sound = noise(6)
    heard = []
    model.network.cell.register_forward_hook(lambda cell, given, out: heard.append(given[0].detach()))
    model(sound, sound.new_zeros(1, model.state_size))
    jacobian = torch.autograd.functional.jacobian(lambda x: model.network.cell(x)[0][0, -1], heard[0])
    exact = jacobian.square().sum(dim=(0, 1, 3)).sqrt()
    estimate = reach(model, sound, directions=4000)
    np.testing.assert_allclose(estimate, exact / exact[-1], rtol=0.1)


def test_gates_reach_further_back_and_large_weights_explode():
    sound = noise(40, batch=2)
    plain, gated, large = (reach(model, sound) for model in (fresh("rnn"), fresh("gru"), fresh("rnn", EXPLODING)))
    for norms in (plain, gated, large):
        assert norms.shape == (40,)
        assert norms[-1] == 1.0
    early = slice(0, 20)
    assert (plain[early] < gated[early]).all()
    assert (gated[early] < 1e-2).all()
    assert (large[early] > 10.0).all()


def test_the_picture_is_drawn_and_a_bad_checkpoint_is_named(tmp_path):
    out = tmp_path / "reach.png"
    drawn = CliRunner().invoke(app, [str(out), "gru-12", "--sound", "examples/yes.wav", "--seconds", "0.4"])
    assert drawn.exit_code == 0, drawn.output
    assert out.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "bad.pt").write_text("nothing")
    refused = CliRunner().invoke(app, [str(tmp_path / "other.png"), str(tmp_path / "bad.pt")])
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "bad.pt" in refused.stderr
    assert not (tmp_path / "other.png").exists()
