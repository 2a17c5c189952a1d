"""A TOML file and `key=value` overrides come out as checked settings, or as one line that names what is wrong."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrnn.errors import ConfigError
from speechrnn.training import config
from speechrnn.training.config import Config, DataConfig, StreamConfig, TrainConfig


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def message_of(path, overrides=()):
    """The one line that a user sees."""
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_empty_file_gives_the_defaults(toml):
    assert config.load(toml("")) == Config()


def test_a_file_changes_what_it_names_and_nothing_else(toml):
    loaded = config.load(
        toml('name = "tiny"\n[network]\ncell = "lstm"\nhidden_size = 16\n[data]\nnoise_folders = ["rain", "wind"]\n')
    )
    assert loaded.name == "tiny"
    assert (loaded.network.cell, loaded.network.hidden_size) == ("lstm", 16)
    assert loaded.data.noise_folders == ("rain", "wind")
    assert loaded.network.layers == Config().network.layers
    assert loaded.train == TrainConfig()


def test_an_override_beats_the_file_and_the_last_one_beats_the_first(toml):
    path = toml("[train]\nepochs = 3\n")
    assert config.load(path, ["train.epochs=4"]).train.epochs == 4
    assert config.load(path, ["train.epochs=4", "train.epochs=5"]).train.epochs == 5


def test_a_file_lies_over_its_base_and_that_over_its_own(toml, tmp_path):
    folder = tmp_path / "bases"
    folder.mkdir()
    (folder / "first.toml").write_text('name = "a"\n[train]\nepochs = 3\nseed = 4\n[data]\nnoise_folders = ["rain"]\n')
    (folder / "second.toml").write_text('base = "first.toml"\n[train]\nseed = 5\n[network]\nhidden_size = 16\n')
    loaded = config.load(toml('base = "bases/second.toml"\n[data]\nnoise_folders = ["wind"]\n'), ["train.seed=6"])
    assert loaded == Config(
        name="a",
        network=config.NetworkConfig(hidden_size=16),
        data=DataConfig(noise_folders=("wind",)),
        train=TrainConfig(epochs=3, seed=6),
    )


@pytest.mark.parametrize("base", ['"missing.toml"', "3", '"settings.toml"', '"./settings.toml"'])
def test_a_base_that_cannot_be_one_is_named(toml, tmp_path, base):
    message = message_of(toml(f"base = {base}"))
    assert str(tmp_path / ("missing.toml" if "missing" in base else "settings.toml")) in message
    assert "missing" in base or "base" in message


def test_a_wrong_setting_of_a_base_is_named(toml, tmp_path):
    (tmp_path / "base.toml").write_text("[train]\nepoch = 3\n")
    assert message_of(toml('base = "base.toml"')).startswith("train.epoch: ")
    (tmp_path / "base.toml").write_text('base = "settings.toml"')
    assert "base" in message_of(toml('base = "base.toml"'))


@pytest.mark.parametrize(
    ("override", "table", "key", "value"),
    [
        ("train.epochs=3", "train", "epochs", 3),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("train.learning_rate=1e-3", "train", "learning_rate", 1e-3),
        ("network.cell=rnn", "network", "cell", "rnn"),
        ('network.cell="rnn"', "network", "cell", "rnn"),
        ("data.task=12", "data", "task", "12"),
        ("data.task=yes,no", "data", "task", "yes,no"),
        ("data.folder=/a b/c=d", "data", "folder", "/a b/c=d"),
        ("data.folder=", "data", "folder", ""),
        ('data.noise_folders=["a", "b"]', "data", "noise_folders", ("a", "b")),
        ("data.noise_folders=[]", "data", "noise_folders", ()),
        ("stream.rows=0", "stream", "rows", 0),
        ("stream.seconds=8", "stream", "seconds", 8.0),
        ("train.freeze_normalisation=true", "train", "freeze_normalisation", True),
        ("train.devices=2", "train", "devices", 2),
    ],
)
def test_an_override_has_the_type_of_its_setting(toml, override, table, key, value):
    found = getattr(getattr(config.load(toml("")), table), key)
    changed = getattr(getattr(config.load(toml(""), [override]), table), key)
    assert changed == value
    assert type(changed) is type(found)


@pytest.mark.parametrize("text", ["12", "012", "1.10", "1_000", "true", "2024-01-01", "0x1F"])
def test_a_string_keeps_the_spelling_that_it_was_given(toml, text):
    assert config.load(toml(""), [f"name={text}"]).name == text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("speed = 3", "speed"),
        ("[train]\nepoch = 3", "train.epoch"),
        ("[trian]\nepochs = 3", "trian"),
        ('[train]\nepochs = "3"', "train.epochs"),
        ("[train]\nepochs = 3.0", "train.epochs"),
        ("[train]\nepochs = true", "train.epochs"),
        ("[train]\nepochs = 0", "train.epochs"),
        ("[train]\nbatch_size = 0", "train.batch_size"),
        ("[train]\ndevices = 0", "train.devices"),
        ('[train]\nstrategy = "fsdp"', "train.strategy"),
        ('[train]\nprecision = "16-true"', "train.precision"),
        ("[train]\nlearning_rate = true", "train.learning_rate"),
        ("[train]\nlearning_rate = nan", "train.learning_rate"),
        ("[train]\nlearning_rate = inf", "train.learning_rate"),
        ("[data]\ntask = 12", "data.task"),
        ('[data]\nnoise_folders = "rain"', "data.noise_folders"),
        ("[data]\nnoise_folders = [1]", "data.noise_folders"),
        ("train = 3", "train"),
        ("[name]\nx = 1", "name"),
        ('[network]\ncell = "transformer"', "network.cell"),
        ('[network]\ncell = "bigru"', "stream.rows"),
        ("[front_end]\nn_fft = 256", "front_end"),
        ("[front_end]\nn_fft = 513", "front_end"),
        ("[front_end]\nhop_length = 401", "front_end"),
        ("[front_end]\nhop_length = 0", "front_end"),
        ("[stream]\nrows = -1", "stream.rows"),
        ("[stream]\nrows = 1.5", "stream.rows"),
        ("[stream]\nseconds = 2.9", "stream.seconds"),
        ("[stream]\nspeech_share = 0.9", "stream"),  # with the others, more than all rows
        ("[stream]\nnoise_share = -0.1", "stream.noise_share"),
        ("[stream]\ncommand_share = 1.1", "stream.command_share"),
        ("[stream]\ngap_low_seconds = -2.0", "stream.gap_low_seconds"),
        ("[stream]\ngap_low_seconds = 2.0", "stream"),
        ("[network]\npooling_half_life_seconds = 2.0", "network.pooling_half_life_seconds"),
        ('[train]\nfreeze_normalisation = "yes"', "train.freeze_normalisation"),
    ],
)
def test_a_wrong_setting_is_named(toml, text, named):
    assert message_of(toml(text)).startswith(f"{named}: ")


def test_an_unknown_setting_is_answered_with_those_there_are(toml):
    message = message_of(toml("[network]\nnothing_alike = 3"))
    assert all(field.name in message for field in dataclasses.fields(config.NetworkConfig))
    assert message_of(toml("[train]\nepoch = 3")).endswith("train.epoch: no such setting; there is: epochs")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.epoch=3", "train.epoch"),
        ("train.epochs=many", "train.epochs"),
        ("data.noise_folders=rain", "data.noise_folders"),
        ("train=3", "train"),
        ("train.epochs.more=3", "train.epochs"),
        ("train.epochs", "train.epochs"),
        ("name.first=x", "name"),
    ],
)
def test_a_wrong_override_is_named(toml, override, named):
    assert named in message_of(toml('name = "x"\n[train]\nepochs = 3'), [override])


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    missing = tmp_path / "missing.toml"
    assert str(missing) in message_of(missing)
    assert str(tmp_path) in message_of(tmp_path)


@pytest.mark.parametrize("content", [b"[train\nepochs = 3", b"epochs 3", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_named(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    assert str(path) in message_of(path)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8).map(lambda word: f"{word}-1"),
    folder=text,
    others=st.lists(text, max_size=3),
    rate=st.floats(1e-9, 100.0),
    tail=st.floats(0.0, 10.0),
    seed=st.integers(0, 2**31),
    stream=st.builds(StreamConfig, rows=st.integers(0, 99), seconds=st.floats(3, 99), weight=st.floats(0.0, 1000.0)),
    freeze=st.booleans(),
)
def test_resolved_settings_read_back_as_they_were(
    tmp_path_factory, name, folder, others, rate, tail, seed, stream, freeze
):
    written = Config(
        name=name,
        tail_seconds=tail,
        data=DataConfig(folder=folder, noise_folders=tuple(others)),
        stream=stream,
        train=TrainConfig(learning_rate=rate, seed=seed, freeze_normalisation=freeze),
    )
    path = tmp_path_factory.mktemp("run") / "config.toml"
    path.write_text(written.to_toml(), encoding="utf-8", newline="")
    assert config.load(path) == written
    assert config.from_dict(written.to_dict()) == written


SHIPPED = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=[path.name for path in SHIPPED])
def test_the_shipped_settings_are_valid(path):
    assert config.load(path).data.folder


def test_rows_of_a_stream_may_be_of_one_kind():
    assert StreamConfig(speech_share=0.7, joined_share=0.2, noise_share=0.1).speech_share == 0.7
    assert StreamConfig(speech_share=0.0, joined_share=0.0, noise_share=1.0).noise_share == 1.0
