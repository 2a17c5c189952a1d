"""A card survives the way into a file and back; one that is no good is refused in a line that names the file."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechrnn.card import FORMAT_VERSION, Card, from_json
from speechrnn.errors import InputError, ModelError
from speechrnn.text import label_fault

CARD = Card(
    name="tiny",
    labels=("ja", "nein", "_unknown_"),
    words=("ja", "nein"),
    sample_rate=16_000,
    block_length=320,
    state_size=7,
    front_end={"n_mels": 40},
    network={"cell": "gru"},
    tail_seconds=0.2,
    smoothing_seconds=0.1,
    thresholds={"ja": 0.8, "nein": 0.7},
    hysteresis=0.8,
    refractory_seconds=0.5,
    training_data=("Äußerungen (CC0)",),
    figures={"accuracy": 0.5},
)


def refusal(text):
    with pytest.raises(ModelError) as caught:
        from_json(text, "some.onnx")
    message = str(caught.value)
    assert message.startswith("some.onnx: ")
    assert len(message.splitlines()) == 1
    return message


def changed(**values):
    return json.dumps(json.loads(CARD.to_json()) | values)


words = st.lists(
    st.text(min_size=1, max_size=8).filter(lambda text: not label_fault(text)), min_size=1, max_size=6, unique=True
)
seconds = st.floats(0, 10)
share = st.floats(0, 1)


@given(words, words, st.integers(1, 10**6), seconds, seconds, seconds, share)
def test_a_card_comes_back_as_it_was(labels, sources, size, tail, smoothing, refractory, hysteresis):
    card = replace(
        CARD,
        labels=tuple(labels),
        words=tuple(labels[:-1]),
        thresholds=dict.fromkeys(labels[:-1], 0.5),
        state_size=size,
        tail_seconds=tail,
        smoothing_seconds=smoothing,
        refractory_seconds=refractory,
        hysteresis=hysteresis,
        training_data=tuple(sources),
    )
    assert from_json(card.to_json(), "some.onnx") == card


def test_a_card_of_a_later_release_may_say_more():
    assert from_json(changed(colour="blue"), "some.onnx") == CARD


def test_figures_may_be_missing():
    values = json.loads(CARD.to_json())
    del values["figures"]
    assert from_json(json.dumps(values), "some.onnx") == replace(CARD, figures={})


@pytest.mark.parametrize("name", [f.name for f in fields(Card) if f.name != "figures"])
def test_a_missing_field_is_named(name):
    values = json.loads(CARD.to_json())
    del values[name]
    assert name.removesuffix("_version") in refusal(json.dumps(values))


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, "1", None, [1]])
def test_a_format_that_this_release_does_not_know_is_refused(version):
    assert f"reads {FORMAT_VERSION}" in refusal(changed(format_version=version))


@pytest.mark.parametrize("text", ["", "{", "gru", "{'name': 1}", "[" * 100_000])
def test_text_that_is_not_json_is_refused(text):
    assert "not valid JSON" in refusal(text)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"card"', "true"])
def test_json_that_is_no_object_is_refused(text):
    assert "not a JSON object" in refusal(text)


@pytest.mark.parametrize(
    "values",
    [
        {"labels": [], "words": [], "thresholds": {}},
        {"labels": ["ja", "ja", "nein"]},
        {"labels": "abc", "words": "ab", "thresholds": {"a": 0.5, "b": 0.5}},
        {"labels": ["ja", "nein", 3]},
        {"labels": [["ja"], ["nein"]]},
        {"labels": None},
        {"words": ["ja", "doch"], "thresholds": {"ja": 0.8, "doch": 0.8}},
        {"words": 2},
        {"thresholds": {"ja": 0.8}},
        {"thresholds": {"ja": 0.8, "nein": 0.8, "_unknown_": 0.8}},
        {"thresholds": ["ja", "nein"]},
        {"thresholds": {"ja": 0.8, "nein": 0.0}},
        {"thresholds": {"ja": 0.8, "nein": 1.01}},
        {"thresholds": {"ja": 0.8, "nein": float("nan")}},
        {"thresholds": {"ja": 0.8, "nein": "high"}},
        {"hysteresis": -0.1},
        {"hysteresis": 1.5},
        {"hysteresis": float("nan")},
        {"hysteresis": "half"},
        {"sample_rate": 8_000},  # sound always comes at 16 kHz
        {"sample_rate": "16000"},
        {"block_length": 0},
        {"block_length": 320.5},
        {"state_size": -1},
        {"state_size": "many"},
        {"tail_seconds": -0.1},
        {"tail_seconds": float("inf")},
        {"smoothing_seconds": float("nan")},
        {"refractory_seconds": "long"},
        {"training_data": "everything"},
        {"training_data": [1, 2]},
    ],
    ids=str,
)
def test_a_card_that_contradicts_itself_is_refused(values):
    assert "contradicts itself" in refusal(changed(**values))


def test_a_stretch_of_time_is_whole_blocks():
    assert CARD.block_seconds == pytest.approx(0.02)
    times = (0.0, 0.02, 0.1, 1.0, 0.39, 0.415, 0.43)  # halves go to the even number
    cards = [replace(CARD, smoothing_seconds=s, refractory_seconds=s, tail_seconds=s) for s in times]
    assert [card.smoothing_blocks for card in cards] == [1, 1, 5, 50, 20, 21, 22]
    assert [card.tail_blocks for card in cards] == [card.refractory_blocks for card in cards]
    assert [card.tail_blocks for card in cards] == [0, 1, 5, 50, 20, 21, 22]


def test_settings_of_the_decision_can_be_replaced_within_their_limits():
    changed_card = CARD.with_decision(hysteresis=0.25, smoothing_seconds=None, refractory_seconds=2)
    assert changed_card == replace(CARD, hysteresis=0.25, refractory_seconds=2)
    assert CARD.with_decision(hysteresis=None) is CARD
    for name, value in (("hysteresis", 1.5), ("smoothing_seconds", -0.1), ("refractory_seconds", float("nan"))):
        with pytest.raises(InputError, match=f"{name}.*must be"):
            CARD.with_decision(**{name: value})


def test_a_card_tells_the_size_of_its_recurrent_stack():
    network = {"cell": "lstm", "features": 12, "hidden_size": 10, "layers": 2}
    assert replace(CARD, network=network).recurrent_stack("some.onnx") == ("lstm", 12, 10, 2)
    for wrong in (
        {},
        CARD.network,
        network | {"cell": "transformer"},
        network | {"layers": 0},
        network | {"layers": "2"},
    ):
        with pytest.raises(ModelError, match=r"^some\.onnx: .* which network"):
            replace(CARD, network=wrong).recurrent_stack("some.onnx")
