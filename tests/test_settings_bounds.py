"""Settings that nobody means, from a file, its bases, the command line or a checkpoint: one line that names them."""

import os
import signal
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import get_type_hints

import numpy as np
import pytest

from speechrnn.errors import ConfigError
from speechrnn.training import config, toml_files
from speechrnn.training.bounds import Between
from speechrnn.training.config import Config, DataConfig, from_dict
from speechrnn.training.data import TrainingData

TABLES = {name: type(value) for name, value in vars(Config()).items() if hasattr(value, "__dataclass_fields__")}
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


@contextmanager
def seconds(limit):
    """What hangs fails."""

    def late(*_):
        raise AssertionError(f"takes more than {limit} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def message_of(path, *overrides):
    """The one line that a user sees, of a length that can be read."""
    with pytest.raises(ConfigError) as caught, seconds(20):
        config.load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert "\0" not in message
    assert len(message) < 1500
    return message


@pytest.fixture
def toml(tmp_path):
    def write(content, name="settings.toml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def numbers():
    """Table, setting, type and bounds of every number."""
    for table, cls in [("", Config), *TABLES.items()]:
        hints = get_type_hints(cls, include_extras=True)
        for field in fields(cls):
            kind = getattr(hints[field.name], "__origin__", hints[field.name])
            if kind in (int, float):
                yield table, field.name, kind, [b for b in getattr(hints[field.name], "__metadata__", ()) if b]


NUMBERS = list(numbers())


def test_every_number_has_bounds_and_its_default_is_within():
    assert len(NUMBERS) > 60
    for table, name, _, bounds in NUMBERS:
        (between,) = bounds
        assert isinstance(between, Between)
        default = getattr(getattr(Config(), table) if table else Config(), name)
        assert between.low <= default <= between.high, name
        assert between.high <= 2**32, name  # nothing that is as large as that number takes the machine's memory


@pytest.mark.parametrize(("table", "name", "kind", "bounds"), NUMBERS, ids=[f"{t}.{n}" for t, n, _, _ in NUMBERS])
def test_a_number_out_of_its_bounds_is_named(toml, table, name, kind, bounds):
    key = f"{table}.{name}" if table else name
    (between,) = bounds
    below, above = (between.low - 1, 10**12) if kind is int else (between.low - 1e-3, 1e12)
    for value in (below, above):
        message = message_of(toml(""), f"{key}={value}")
        # one of two lengths that must fit to one another is named with the other
        assert message.startswith((f"{key}: ", "front_end: ")), message
        assert name in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[front_end]\nf_min = 4000.0\nf_max = 3000.0", "f_max"),
        ("[data]\nspeech_share = 0.6\nmade_words_share = 0.6", "made_words_share"),
        ("[augment]\ngain_low_db = 10.0", "gain_high_db"),
        ("[augment]\nsnr_low_db = 40.0", "snr_high_db"),
    ],
)
def test_numbers_that_contradict_each_other_are_named(toml, text, named):
    assert named in message_of(toml(text))


DIGITS = "1" * 5000
ODD_FILES = {
    "many digits": f"[train]\nepochs = {DIGITS}",
    "many digits of a decimal number": f"[train]\nlearning_rate = {'1' * 400}",
    "many hexadecimal digits": f"[train]\nepochs = 0x{DIGITS}",
    "a number that is infinite": "[train]\nlearning_rate = 1e999",
    "deep lists": "name = " + "[" * 5000 + "]" * 5000,
    "deep inline tables": "name = " + "{a = " * 5000 + "1" + "}" * 5000,
    "a deep key": ".".join("a" * 30_000) + " = 1",
    "a deep table": f"[{'.'.join('a' * 30_000)}]",
    "tables of settings in tables of settings": "[train.train.train]\nepochs = 1",
    "a list of a list": f"[data]\nword_folders = {'[' * 60}{']' * 60}",
    "a long wrong value": f'[train]\nepochs = "{"x" * 100_000}"',
    "a long key": f"{'k' * 100_000} = 1",
    "NUL": b'name = "a\0b"',
    "NUL as an escape": '[data]\nfolder = "a\\u0000b"',
    "NUL in a list": '[data]\nnoise_folders = ["a\\u0000b"]',
    "NUL in the name of a base": 'base = "a\\u0000b"',
    "no UTF-8": b'name = "\xff"',
    "UTF-16": 'name = "x"'.encode("utf-16"),
    "too large": b"#" * (toml_files.MOST_BYTES + 1),
    "a key of no letters": '"" = 1',
    "a key with a line break": '"a\\nb" = 1',
}


def test_an_unknown_setting_is_answered_with_those_it_may_mean(toml):
    message = message_of(toml("[augment]\nsnr_db = 3"))
    assert "augment.snr_db: no such setting" in message
    assert "snr_low_db" in message
    for key in ("augment", "train", "data", "network"):
        assert len(message_of(toml(f"[{key}]\nother = 1"))) < 500


def test_a_source_that_no_card_takes_is_refused_before_the_training(toml):
    assert "data.sources" in message_of(toml('[data]\nsources = ["a corpus\\nCC BY"]'))


@pytest.mark.parametrize("content", ODD_FILES.values(), ids=ODD_FILES)
def test_an_odd_file_is_one_line(toml, content):
    path = toml(content)
    message = message_of(path)
    known = [str(path), "train", "data.", "name", "learning_rate", "no such setting", "can't be read"]
    assert any(word in message for word in known)


def test_a_byte_order_mark_is_no_part_of_the_settings(toml):
    assert config.load(toml(b"\xef\xbb\xbfname = 'tiny'\r\n[train]\r\nepochs = 2\r\n")).train.epochs == 2


@POSIX
@pytest.mark.parametrize("kind", ["folder", "pipe", "/dev/zero", "loop", "long name", "below a file", "NUL"])
def test_what_is_no_file_is_named(tmp_path, kind):
    path = tmp_path / "odd.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "below a file":
        path.write_text("")
        path = path / "settings.toml"
    elif kind == "/dev/zero":
        path = type(path)("/dev/zero")
    else:
        path = tmp_path / {"long name": "n" * 300, "NUL": "a\0b"}[kind]
    assert repr(str(path))[1:-1][:60] in message_of(path)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("", "key=value"),
        ("=3", "key=value"),
        (".=3", "key=value"),
        ("a..b=3", "key=value"),
        ("train.=3", "key=value"),
        (".train=3", "key=value"),
        ("train", "key=value"),
        ("train=3", "train"),
        ("train.epochs.x=3", "train.epochs"),
        ("train.epochs.x.y=3", "train.epochs"),
        ("__class__=3", "__class__"),
        ("train.__class__=3", "train.__class__"),
        ("train.__dict__.epochs=3", "train.__dict__"),
        ("train.table=x", "train.table"),
        ("a\nb=3", "no such setting"),
        (".".join("a" * 30_000) + "=3", "no such setting"),
        ("train.epochs=3\nseed = 4", "train.epochs"),
        ("train.epochs=3\n[x]", "train.epochs"),
        (f"train.epochs={DIGITS}", "train.epochs"),
        (f"train.epochs=0x{DIGITS}", "train.epochs"),
        ("train.epochs=" + "[" * 5000, "train.epochs"),
        ("train.epochs={" + ".".join("a" * 30_000) + "=1}", "train.epochs"),
        ("train.learning_rate=1e999", "train.learning_rate"),
        ("data.folder=a\0b", "data.folder"),
        ("data.folder=\udcff", "data.folder"),
        ("data.word_folders=['\udcff']", "data.word_folders"),
    ],
)
def test_an_odd_override_is_one_line(toml, override, named):
    assert named in message_of(toml(""), override)


def test_a_base_may_lie_elsewhere(toml, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    base = toml("[train]\nepochs = 3", "elsewhere/base.toml")
    assert config.load(toml(f"base = '{base.as_posix()}'")).train.epochs == 3


@POSIX
@pytest.mark.parametrize("base", ["loop.toml", "same.toml", "./../{folder}/settings.toml", "n" * 300, "missing/x.toml"])
def test_a_base_that_cannot_be_one_is_named(toml, tmp_path, base):
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "same.toml").symlink_to("settings.toml")
    path = toml(f"base = '{base.format(folder=tmp_path.name)}'")
    message = message_of(path)
    assert "its own base" in message if base[0] in "s." else "can't be read" in message


def test_bases_below_one_another_have_an_end(toml):
    for number in range(60):
        last = toml(f'base = "{number - 1}.toml"' if number else "", f"{number}.toml")
    assert "join some of them" in message_of(last)
    assert config.load(last.with_name(f"{toml_files.MOST_BASES - 1}.toml")) == Config()


@pytest.mark.parametrize("values", [None, 3, [], "train", {3: 4}, {"train": []}, {"train": {None: 1}}, {"name": None}])
def test_settings_of_another_shape_are_refused(values):
    """As in a checkpoint, which holds them as nested dictionaries."""
    with pytest.raises(ConfigError):
        from_dict(values)


def test_shares_that_are_all_of_unknown_leave_no_word(monkeypatch):
    """Rounded each by itself, the parts of an odd number can be one more than the whole."""
    data = TrainingData.__new__(TrainingData)
    shares = DataConfig(unknown_share=1.0, speech_share=0.5, made_words_share=0.5, silence_share=0.0)
    data.config, data.labels, data.clips_per_word = replace(Config(), data=shares), ("yes", "_unknown_"), 3

    class Heard:
        commands, by_word, label_of = ["yes"], {"yes": [0, 1, 2], "house": [3]}, {"yes": "yes", "house": "_unknown_"}
        others, other_probabilities, speech, background = ["house"], np.ones(1), True, False

    data.pool = Heard()
    data.set_epoch(0)
    assert len([clip for clip, _ in data.order if clip >= 0]) == 3
