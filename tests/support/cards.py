"""A card that is in order, changes of it, and the line that refuses one."""

import json

import pytest

from speechrnn.card import Card, from_json
from speechrnn.errors import ModelError

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
