"""A card from a stranger costs nothing, and its names do nothing: it is refused in one line, wherever it comes in."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import onnx
import pytest
import typer

from speechrnn import card
from speechrnn.cli.calibrate import calibrate as calibrate_verb
from speechrnn.errors import ConfigError, ModelError
from speechrnn.evaluation import corpus
from speechrnn.export import c_weights, to_onnx
from speechrnn.model import Model, shipped
from tests.support.cards import CARD, changed, refusal
from tests.support.command_line import ROOT, command, run
from tests.support.environment import SHARED, needs
from tests.support.networks import recognizer, saved
from tests.support.page import read_cards

CASES = SHARED.parent / "cases"
NOT_NAMES = {
    "empty": "",
    "blank": " ",
    "space in front": " ja",
    "line break behind": "ja\n",
    "line break": "ja\n99",
    "carriage return": "ja\rno",
    "NUL": "j\0a",
    "ESC": "\x1b[31mja",
    "window title": "\x1b]0;mine\x07ja",
    "DEL": "j\x7fa",
    "C1": "j\x9b31ma",
    "next line": "j\x85a",
    "line separator": "j\u2028a",
    "paragraph separator": "j\u2029a",
    "right to left": "j\u202ea",
    "isolate": "j\u2066a",
    "half a pair": "j\ud800a",
    "not UTF-8": "j\udcffa",
    "long": "j" * 256,
}
NOT_LABELS = {"longer than a word": "j" * 101, "option": "--to=x", "times of a subtitle": "00:00.000 --> 99:00.000"}
HONEST = [
    "ja",
    "hé là",
    "はい",
    "नमस्ते",
    "👩‍🚀",
    "می‌خواهم",
    "_silence_",
    "hey robot",
    "don't",
    "c++",
    "[red]",
    "50%",
    "a.b",
]


def named(label, field):
    """The text of a card that has this name somewhere."""
    if field == "name":
        return changed(name=label)
    return changed(
        labels=[label, "nein", "_unknown_"],
        words=[label, "nein"] if field == "word" else ["nein"],
        thresholds={label: 0.5, "nein": 0.5} if field == "word" else {"nein": 0.5},
    )


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name in NOT_NAMES.values() for field in ("name", "label", "word")]
    + [(name, field) for name in NOT_LABELS.values() for field in ("label", "word")],
    ids=ascii,
)
def test_a_name_that_does_something_is_refused(name, field):
    line = refusal(named(name, field))
    assert "contradicts itself" in line
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize("text", ["\u202ecorpus", "a\nb", "\x1b[2J", "half \ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["training_data", "figures", "network"])
def test_a_text_that_does_something_is_refused_wherever_it_stands(field, text):
    line = refusal(changed(**{field: [text] if field == "training_data" else {"from": {text: 1}}}))
    assert f"{field}: has a control character" in line


@pytest.mark.parametrize("field", ["name", "label", "word"])
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_name_is_taken(name, field):
    card.from_json(named(name, field), "some.onnx")


NOT_NUMBERS = [True, None, "1", [1], {}, float("nan"), float("inf"), -float("inf"), 10**40, -1, 1e300]


@pytest.mark.parametrize("field", [*card.LIMITS, "sample_rate"])
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=str)
def test_what_is_no_number_in_its_range_is_refused(field, value):
    assert field in refusal(changed(**{field: value}))


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0, 1.001], ids=str)
def test_a_threshold_that_is_no_share_is_refused(value):
    assert "threshold" in refusal(changed(thresholds={"ja": value, "nein": 0.5}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tail_seconds", 1e5),
        ("tail_seconds", 10.1),
        ("smoothing_seconds", 10.1),
        ("refractory_seconds", 3601),
        ("block_length", 31),
        ("block_length", 10**9),
        ("block_length", 320.0),
        ("state_size", 2**23 + 1),
    ],
)
def test_what_would_cost_much_is_refused(field, value):
    line = refusal(changed(**{field: value}))
    assert f"{field}: must be" in line or f"{field}: is no whole number" in line


@pytest.mark.parametrize(("field", "limits"), card.LIMITS.items())
def test_the_limits_themselves_are_taken(field, limits):
    for value in limits:
        whole = int(value) if field in ("block_length", "state_size") else value
        assert getattr(card.from_json(changed(**{field: whole}), "some.onnx"), field) == whole


@pytest.mark.parametrize("field", ["labels", "words", "training_data", "thresholds", "front_end", "network", "figures"])
@pytest.mark.parametrize("value", [None, True, 3, "ja", [3], [["ja"]], [None], {"ja": None}, {"ja": [0.5]}], ids=str)
def test_another_kind_of_value_is_refused(field, value):
    if field in ("front_end", "network", "figures") and isinstance(value, dict):
        assert (
            getattr(card.from_json(changed(**{field: value}), "some.onnx"), field) == value
        )  # these may hold anything
    else:
        refusal(changed(**{field: value}))


@pytest.mark.parametrize("version", [True, 1.0, "1" * 100_000, ["\x1b"] * 1000], ids=["bool", "float", "long", "list"])
def test_a_version_of_another_kind_is_refused_in_a_short_line(version):
    line = refusal(changed(format_version=version))
    assert line.isprintable()
    assert len(line) < 300


def test_too_many_labels_are_refused():
    labels = [f"word {i}" for i in range(card.MOST_LABELS + 1)]
    assert "labels" in refusal(changed(labels=labels, words=[], thresholds={}))
    card.from_json(changed(labels=labels[1:], words=[], thresholds={}), "some.onnx")


def test_a_word_that_stands_twice_is_refused():
    assert "different" in refusal(changed(words=["ja", "ja", "nein"]))


def nested(levels, inner=1):
    for _ in range(levels):
        inner = {"a": [inner]}
    return inner


@pytest.mark.parametrize("field", ["figures", "network", "front_end"])
@pytest.mark.parametrize(
    "value",
    [nested(20), {"a": 10**30}, {"a": float("nan")}, {"a": [float("inf")]}, {"\ud800": 1}, {"a": ["\udfff"]}],
    ids=["deep", "huge", "NaN", "infinite", "key with half a pair", "half a pair"],
)
def test_what_is_nowhere_in_a_card_is_refused(field, value):
    assert refusal(changed(**{field: value})).isprintable()


def test_a_key_that_stands_twice_is_refused():
    text = CARD.to_json()
    assert "not valid JSON" in refusal(text[:-1] + ', "tail_seconds": 0.3}')


@pytest.mark.parametrize("text", ['{"a": ' + "9" * 5000 + "}", '{"a":' * 5000 + "1" + "}" * 5000])
def test_numbers_of_many_digits_and_nesting_end_in_one_line(text):
    assert "not valid JSON" in refusal(text)


def test_a_card_of_megabytes_is_refused():
    assert "characters" in refusal(changed(training_data=["x" * card.MOST_CHARACTERS]))


@pytest.mark.parametrize("sizes", [{"hidden_size": 10**9}, {"layers": 10**9}, {"features": 2**30}, {"layers": True}])
def test_a_network_that_no_machine_holds_is_no_network(sizes):
    network = {"cell": "gru", "features": 12, "hidden_size": 10, "layers": 2} | sizes
    with pytest.raises(ModelError, match=r"^some\.onnx: .* which network"):
        replace(CARD, network=network).recurrent_stack("some.onnx")


# in a file


def with_card(folder, text):
    """The small model with this text (or bytes) for a card."""
    proto = onnx.load(shipped("gru-12-small"))
    [entry] = proto.metadata_props
    if isinstance(text, bytes):
        entry.value = "?" * len(text)
        content = proto.SerializeToString()
        assert content.count(entry.value.encode()) == 1
        content = content.replace(entry.value.encode(), text)
    else:
        entry.value = text
        content = proto.SerializeToString()
    path = folder / "strange.onnx"
    path.write_bytes(content)
    return path


def own_card(**values):
    return json.dumps(json.loads(Model("gru-12-small").card.to_json()) | values)


def escaped_label():
    values = json.loads(own_card())
    values["labels"][0] = values["words"][0] = "\x1b]0;pwned\x07\x1b[2Jyes"
    values["thresholds"] = dict.fromkeys(values["words"], 0.5)
    return json.dumps(values)


FILES = {
    "not UTF-8": lambda: b'{"name": "\xff\xfe' + b"x" * 500 + b'"}',
    "ESC in a label": escaped_label,
    "tail of a day": lambda: own_card(tail_seconds=1e5),
    "smoothing of a day": lambda: own_card(smoothing_seconds=86_400),
    "block of a day": lambda: own_card(block_length=10**9),
    "not a number": lambda: own_card(hysteresis=float("nan")),
    "half a pair": lambda: own_card(figures={"note": "\ud800"}),
    "NUL in the name": lambda: own_card(name="a\0b"),
}
YES = ROOT / "examples" / "yes.wav"
VERBS = {
    "classify": ["classify", YES, "--model"],
    "spot": ["spot", YES, "-f", "jsonl", "--model"],
    "listen": ["listen", YES, "--exec", "true", "--model"],
    "plot": ["plot", YES, "--model"],
    "evaluate": ["evaluate", ROOT / "examples", "--model"],
    "doctor": ["doctor", "--model"],
    "info": ["info"],
    "info as JSON": ["info", "--json"],
    "bench": ["bench"],
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_bad_card_is_refused_when_the_file_is_loaded(text, tmp_path):
    path = with_card(tmp_path, text())
    with pytest.raises(ModelError) as caught:
        Model(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert line.isprintable()


def refused(shown, path):
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (2, "", 1), shown.stderr
    assert str(path) in shown.stderr
    assert shown.stderr[:-1].isprintable()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_a_bad_card_in_one_line(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a picture would be put
    for text in ("not UTF-8", "ESC in a label"):
        path = with_card(tmp_path, FILES[text]())
        refused(run(*VERBS[verb], path), path)


def test_the_command_itself_refuses_a_bad_card(tmp_path):
    path = with_card(tmp_path, FILES["not UTF-8"]())
    refused(command("info", path), path)


@pytest.mark.parametrize(
    "name",
    ["card_not_utf8", "card_tail_1e5_seconds", "label_with_escape_sequences", "label_with_surrogate", "ep_error"],
)
def test_a_case_that_went_wrong_is_refused(name):
    path = CASES / f"{name}.onnx"
    if not path.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {path}")
    refused(command("classify", YES, "--model", path), path)


# where cards are made, and other doors


@pytest.mark.parametrize("word", ["a\nb", "\x1b[31mb", "b\u202e", "--to=x", "b" * 101, "b\ud800"])
def test_a_task_with_a_word_that_does_something_is_refused(word):
    with pytest.raises(ConfigError) as caught:
        corpus.task_labels(f"yes,{word},no")
    assert str(caught.value).isprintable()


def test_a_checkpoint_whose_card_would_be_refused_is_not_exported(tmp_path):
    for labels in (("ja\n99", "nein"), ("ja", "ja"), ("",)):
        model = recognizer(labels=labels)
        with pytest.raises(ModelError, match="contradicts itself"):
            to_onnx.export(saved(tmp_path / "best.pt", model), tmp_path / "model.onnx")
        assert not (tmp_path / "model.onnx").exists()


def test_a_card_that_is_no_json_is_not_written():
    with pytest.raises(ModelError, match="no model card"):
        card.check(replace(CARD, figures={"accuracy": object()}), "best.pt")


def test_priors_that_are_no_numbers_are_refused(tmp_path):
    path = with_card(tmp_path, own_card(figures={"priors": {"yes": "often"}}))
    shown = run(path, tmp_path / "out.onnx", start=lambda: typer.run(calibrate_verb))
    refused(shown, path)
    assert "priors" in shown.stderr


@pytest.mark.parametrize(
    "network", [{"hidden_size": 2**20}, {"layers": 10**9}, {"cell": "whisper"}, {"features": "many"}], ids=str
)
def test_the_c_program_is_not_made_of_a_network_that_no_machine_holds(network, tmp_path):
    path = with_card(tmp_path, own_card(network=Model("gru-12-small").card.network | network))
    with pytest.raises(ModelError, match="which network"):
        c_weights.read(Model(path))


def example(path):
    argv = [sys.executable, "-I", ROOT / "export" / "examples" / "spot.py", path, YES]
    return subprocess.run(argv, capture_output=True, text=True)


@pytest.mark.parametrize("text", ["ESC in a label", "tail of a day", "smoothing of a day", "block of a day"])
def test_the_example_refuses_a_bad_card(text, tmp_path):
    shown = example(with_card(tmp_path, FILES[text]()))
    assert (shown.returncode, shown.stdout, shown.stderr.count("\n")) == (1, "", 1)
    assert "\x1b" not in shown.stderr


def test_the_page_refuses_what_python_refuses():
    """Of all names and numbers here; a dash or an arrow means nothing on a page."""
    needs("node")
    bad = [named(name, "label") for name in NOT_NAMES.values()]
    bad += [
        changed(**{field: value})
        for field in (*card.LIMITS, "sample_rate")
        for value in (True, None, "1", [1], {}, 10**40, -1)
    ]
    bad += [changed(thresholds=value) for value in (None, [], {}, {"ja": True, "nein": 1}, {"ja": 0, "nein": 1})]
    bad += [changed(words=["ja", "ja"]), changed(labels=[f"word {i}" for i in range(1001)])]
    good = [named(name, "label") for name in HONEST]
    answers = read_cards(*(in_a_file(text) for text in bad + good))
    assert [isinstance(answer, str) for answer in answers] == [True] * len(bad) + [False] * len(good)
    assert all(answer.isprintable() for answer in answers if isinstance(answer, str))
    [answer] = read_cards(in_a_file("A").replace(b"A", b"\xff"))
    assert answer == "Its model card is not UTF-8: export the model again."


def in_a_file(text):
    proto = onnx.ModelProto()
    proto.metadata_props.add(key=card.METADATA_KEY, value=text)
    return proto.SerializeToString()


def test_no_program_is_started_for_a_label_with_a_nul(tmp_path):
    """An environment can't hold it: it would have been a traceback at the first detection."""
    values = json.loads(own_card())
    values["labels"][0] = values["words"][0] = "y\0es"
    values["thresholds"] = dict.fromkeys(values["words"], 0.5)
    path = with_card(tmp_path, json.dumps(values))
    refused(run("listen", YES, "--model", path, "--exec", f"touch {tmp_path / 'started'}"), path)
    assert not (tmp_path / "started").exists()
