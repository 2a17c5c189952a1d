"""The mean of the weights of several checkpoints."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from speechrnn.training import checkpoint
from speechrnn.training.average import app
from speechrnn.training.config import Config
from speechrnn.training.network import Recognizer

LABELS = ["yes", "_unknown_", "_silence_"]


def save(path, seed, hidden=8):
    torch.manual_seed(seed)
    config = replace(Config(), network=replace(Config().network, hidden_size=hidden))
    model = Recognizer(config, LABELS)
    checkpoint.save(path, {"config": config.to_dict(), "labels": LABELS, "weights": model.state_dict()})
    return str(path)


def average(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("options", "shares"), [([], (0.5, 0.5)), (["--share", "0.75", "--share", "0.25"], (0.75, 0.25))]
)
def test_the_mean_is_that_of_each_weight(tmp_path, options, shares):
    files = [save(tmp_path / f"{seed}.pt", seed) for seed in (1, 2)]
    result = average(tmp_path / "mean.pt", *files, *options)
    assert result.exit_code == 0, result.output
    model, content = checkpoint.recognizer(tmp_path / "mean.pt")
    parts = [checkpoint.read(file)["weights"] for file in files]
    assert content["labels"] == LABELS
    for name, weight in model.state_dict().items():
        expected = shares[0] * parts[0][name] + shares[1] * parts[1][name]
        torch.testing.assert_close(weight.double(), expected.double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "match"),
    [(["--share", "1"], "--share"), (["--share", "0.7", "--share", "0.7"], "--share"), ([], "another network")],
)
def test_what_has_no_mean_is_refused(tmp_path, options, match):
    files = [save(tmp_path / "a.pt", 1), save(tmp_path / "b.pt", 2, hidden=8 if options else 16)]
    result = average(tmp_path / "mean.pt", *files, *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert match in result.stderr
    assert not (tmp_path / "mean.pt").exists()
