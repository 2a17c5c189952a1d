"""The shipped models on real clips of people they never heard, as a whole and as a stream; `tests/clips` holds them."""

from pathlib import Path

import pytest

import speechrnn
from speechrnn import audio
from speechrnn.evaluation.partition import partition, speaker

CLIPS = sorted((Path(__file__).parent / "clips").glob("*/*.flac"))
WORDS = {
    "gru-12": (50, 48),
    "gru-12-small": (49, 48),
}  # right of 52, as a whole and as a stream: one less than measured


def test_they_are_of_people_who_were_kept_for_validation():
    said = [clip for clip in CLIPS if not clip.parent.name.startswith("_")]
    assert {partition(clip.name) for clip in said} == {"validation"}
    assert len({speaker(clip) for clip in said}) == len(said) == 48
    assert sum(clip.stat().st_size for clip in CLIPS) < 1_000_000


def word(clip, model):
    """The word that the clip holds; None where it is none of the model's."""
    return clip.parent.name if clip.parent.name in model.card.words else None


@pytest.fixture(scope="module", params=WORDS)
def model(request):
    return speechrnn.load(request.param)


def test_each_clip_has_its_label(model):
    assert len(CLIPS) == 52
    assert set(model.card.words) == {word(clip, model) for clip in CLIPS} - {None}
    right = 0
    for clip in CLIPS:
        label = model.classify(clip).label
        if clip.parent.name.startswith("_"):
            right += label == "_silence_"
        else:
            right += label == (word(clip, model) or "_unknown_")
    assert right >= WORDS[model.path.stem][0]


def test_each_stream_has_its_word_and_no_other(model):
    right = 0
    for clip in CLIPS:
        samples = audio.load(clip)
        spotter = speechrnn.Spotter(model)
        found = [d for begin in range(0, len(samples), 1000) for d in spotter.process(samples[begin : begin + 1000])]
        found += spotter.finish()
        right += [detection.label for detection in found] == [label for label in [word(clip, model)] if label]
    assert right >= WORDS[model.path.stem][1]
