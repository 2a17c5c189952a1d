"""Variants of a recipe side by side: what a plan says, what a table says, and one whole plan on small sound."""

import json
import shutil
from dataclasses import dataclass, field

import pytest
from test_train import config_file, data_folder  # noqa: F401  two words, a high tone and a low one
from test_validate import hum, said
from typer.testing import CliRunner

from research import compare
from research.compare import app, clip_milliseconds, digest, found, read_plan, table
from speechrnn.errors import ConfigError
from speechrnn.training.config import Config, TrainConfig

PLAN = """
config = "configs/gru-12.toml"
seeds = [1, 2]
[[variants]]
name = "as it is"
[[variants]]
name = "small"
set = ["network.hidden_size=8"]
"""


def figures(accuracy, **others):
    return {
        "parameters": 1000, "streamable": True, "accuracy": accuracy, "weakest_word": 0.5,
        "unseen_words": 0.5, "unseen_noise": 0.5, **others,
    }  # fmt: skip


def test_a_gain_is_clear_where_no_seed_of_one_is_as_good_as_a_seed_of_the_other():
    found = {
        "base": [figures(0.90), figures(0.92)],
        "better": [figures(0.93), figures(0.95)],
        "perhaps": [figures(0.91), figures(0.95)],
        "worse": [figures(0.80), figures(0.89)],
    }
    _, _, base, better, perhaps, worse = table(found, {**dict.fromkeys(found, 2.0), "better": 3.0}).splitlines()
    assert base.startswith("| base | 2 | 1000 | 2.0 (1.00 times) | yes | 91.00 % (90.00 to 92.00) |")
    assert better.startswith("| better | 2 | 1000 | 3.0 (1.50 times) |")
    assert "| 94.00 % (93.00 to 95.00), +3.00 |" in better
    assert "| 93.00 % (91.00 to 95.00), +2.00 within the spread |" in perhaps
    assert "| 84.50 % (80.00 to 89.00), -6.50 |" in worse


def test_one_seed_has_no_spread_and_its_gain_is_not_called_clear():
    *_, other = table({"base": [figures(0.90)], "other": [figures(0.95)]}, {"base": 2.0, "other": 2.0}).splitlines()
    assert "| 95.00 % (95.00 to 95.00), +5.00 of one seed |" in other


def test_a_plan_gives_each_run_its_settings(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text('set = ["train.epochs=3"]' + PLAN)
    plan = read_plan(file)
    assert list(plan.variants) == ["as it is", "small"]
    assert plan.overrides("small", 2) == ["train.epochs=3", "network.hidden_size=8", "train.seed=2"]


def test_variants_of_one_network_have_one_time_of_a_clip(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text(PLAN + '[[variants]]\nname = "no room"\nset = ["augment.room_probability=0.0"]')
    milliseconds = clip_milliseconds(read_plan(file))
    assert milliseconds["no room"] == milliseconds["as it is"] != milliseconds["small"]
    assert min(milliseconds.values()) > 0.0


def test_a_plan_that_was_stopped_has_all_known_seeds_in_its_table(tmp_path, monkeypatch):
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    plan = read_plan(file)
    name = {(variant, seed): digest(plan, variant, seed) for variant in plan.variants for seed in plan.seeds}
    known = {name["as it is", 1]: figures(0.90), name["as it is", 2]: figures(0.92), "another plan's": figures(0.1)}
    assert found(plan, known) == {"as it is": [figures(0.90), figures(0.92)]}
    (tmp_path / "out.json").write_text(json.dumps(known))

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "run", stopped)
    assert CliRunner().invoke(app, [str(file), str(tmp_path / "out.md")]).exit_code
    assert "| as it is | 2 |" in (tmp_path / "out.md").read_text()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("seeds = [", "not valid TOML"),
        ("seeds = [1]", "needs config"),
        (PLAN.replace("[1, 2]", "[]"), "needs a seed"),
        (PLAN.replace("small", "as it is"), "different name"),
        (PLAN.replace("hidden_size", "hidden"), "no such setting"),
        (PLAN.replace("gru-12.toml", "none.toml"), "can't be read"),
    ],
)
def test_a_plan_that_can_not_be_is_named(tmp_path, text, match):
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=match):
        read_plan(file)
    refused = CliRunner().invoke(app, [str(file), str(tmp_path / "out.md")])
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "out.md").exists()


def test_a_plan_is_trained_measured_and_not_done_twice(config_file, data_folder, tmp_path, monkeypatch):  # noqa: F811
    data = tmp_path / "data"
    data.mkdir()
    (data / "speech_commands").symlink_to(data_folder)
    said(data / "words" / "spoken_digits" / "two" / "0.wav", "marvin")
    hum(data / "noise" / "music_librosa" / "0.wav", 3.0)
    hum(data / "noise" / "music_pyaudio" / "0.wav", 3.0)
    file = tmp_path / "plan.toml"
    file.write_text(f"""
config = "{config_file.as_posix()}"
set = ["train.epochs=1"]
seeds = [1]
[[variants]]
name = "GRU"
[[variants]]
name = "RNN"
set = ["network.cell=rnn"]
""")
    timed = clip_milliseconds(read_plan(file))  # once: two timings differ
    monkeypatch.setattr(compare, "clip_milliseconds", lambda _: timed)
    arguments = [str(file), str(tmp_path / "out.md"), "--runs", str(tmp_path / "runs"), "--data", str(data)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = (tmp_path / "out.md").read_text()
    assert result.stdout == written
    assert [line.split(" | ")[0] for line in written.splitlines()[2:]] == ["| GRU", "| RNN"]
    made = json.loads((tmp_path / "out.json").read_text())
    assert len(made) == 2
    assert all(0.0 <= figures["accuracy"] <= 1.0 for figures in made.values())
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.setattr(compare.subprocess, "run", lambda *_, **__: pytest.fail("trained again"))
    assert CliRunner().invoke(app, arguments).stdout == written
    (tmp_path / "out.json").write_text("[1]")
    refused = CliRunner().invoke(app, arguments)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "out.json" in refused.stderr


def test_other_settings_are_another_run(tmp_path):
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    plan = read_plan(file)
    names = {digest(plan, variant, seed) for variant in plan.variants for seed in plan.seeds}
    assert len(names) == 4
    assert digest(read_plan(file), "small", 2) in names


def test_another_list_of_excluded_clips_is_another_run(tmp_path):
    file, listed = tmp_path / "plan.toml", tmp_path / "list.txt"
    file.write_text(PLAN.replace("seeds", f'set = ["data.exclude={listed.as_posix()}"]\nseeds', 1))
    names = set()
    for content in ("", "yes/a.wav\n", "yes/a.wav\nno/b.wav\n"):
        listed.write_text(content)
        names.add(digest(read_plan(file), "small", 2))
    assert len(names) == 3
    listed.write_text("no/b.wav\nyes/a.wav\n")  # the order doesn't count
    assert digest(read_plan(file), "small", 2) in names


def test_settings_that_come_later_leave_the_digests_as_they_were(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class LaterTrainConfig(TrainConfig):
        added: float = 0.5

    @dataclass(frozen=True)
    class LaterConfig(Config):
        train: LaterTrainConfig = field(default_factory=LaterTrainConfig)
        added: float = 0.5

    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    before = digest(read_plan(file), "small", 1)
    monkeypatch.setattr(compare.settings, "Config", LaterConfig)
    assert digest(read_plan(file), "small", 1) == before
    for setting in ("added=0.75", "train.added=0.75"):
        file.write_text(PLAN.replace("seeds", f'set = ["{setting}"]\nseeds', 1))
        assert digest(read_plan(file), "small", 1) != before
