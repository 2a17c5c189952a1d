"""The shipped models on real recordings: accuracy, and the same word whatever the file, the rate and the level."""

import io

import numpy as np
import pytest
import soundfile
import soxr

import speechrnn
from speechrnn import audio
from speechrnn.errors import AudioError
from speechrnn.evaluation.corpus import evaluation_clips
from speechrnn.evaluation.endpoints import word_endpoints


@pytest.fixture(scope="module")
def model():
    return speechrnn.load()


@pytest.fixture(scope="module")
def chosen(validation_folder, model):
    """All validation clips."""
    return evaluation_clips(validation_folder, model.labels, "validation")


@pytest.fixture(scope="module")
def clips(chosen, model):
    """A hundred clips, over all labels, as samples; and their labels as the model hears them."""
    spread = [chosen[i] for i in np.linspace(0, len(chosen) - 1, 100).astype(int)]
    sounds = [model.load_clip(clip.sound()) for clip in spread]
    return sounds, [model.classify(sound).label for sound in sounds]


@pytest.fixture(scope="module")
def hits(chosen, model):
    """Of the validation clips of each label, which a model has right: the shipped one, and the small one."""

    def of(model):
        results = list(model.classify_many(clip.sound() for clip in chosen))
        assert len(chosen) == 3019
        assert not [result for result in results if isinstance(result, AudioError)]
        right = {label: [] for label in model.labels}
        for clip, result in zip(chosen, results, strict=True):
            right[clip.label].append(result.label == clip.label)
        return right

    return of(model), of(speechrnn.load("gru-12-small"))


def accuracy(right):
    return np.mean([hit for hits in right.values() for hit in hits])


def test_it_is_right_on_speakers_it_never_heard(hits):
    assert accuracy(hits[0]) >= 0.965
    recalls = {label: np.mean(of_label) for label, of_label in hits[0].items()}
    assert min(recalls.values()) >= 0.90, recalls


def test_the_small_one_is_within_a_point_of_it(hits):
    assert speechrnn.load("gru-12-small").path.stat().st_size < 150_000
    assert accuracy(hits[1]) >= accuracy(hits[0]) - 0.01


def encoded(samples, rate, channels, **how):
    """A sound file as bytes."""
    if rate != audio.SAMPLE_RATE:
        samples = soxr.resample(samples, audio.SAMPLE_RATE, rate, quality="HQ")
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples] * channels, axis=1), rate, **how)
    return file.getvalue()


@pytest.mark.parametrize(
    ("rate", "channels", "how", "same"),
    [
        (16_000, 1, {"format": "WAV", "subtype": "PCM_16"}, 99),
        (16_000, 1, {"format": "WAV", "subtype": "PCM_U8"}, 99),
        (16_000, 1, {"format": "WAV", "subtype": "PCM_24"}, 99),
        (16_000, 1, {"format": "WAV", "subtype": "PCM_32"}, 99),
        (16_000, 1, {"format": "WAV", "subtype": "FLOAT"}, 99),
        (44_100, 2, {"format": "FLAC", "subtype": "PCM_16"}, 99),
        (48_000, 1, {"format": "OGG", "subtype": "VORBIS"}, 99),
        (48_000, 1, {"format": "OGG", "subtype": "OPUS"}, 99),
        (44_100, 2, {"format": "MP3"}, 99),
        (8_000, 1, {"format": "WAV", "subtype": "PCM_16"}, 90),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_the_file_format_does_not_change_the_word(clips, model, rate, channels, how, same):
    sounds, labels = clips
    heard = [model.classify(encoded(sound, rate, channels, **how)).label for sound in sounds]
    assert np.sum(np.array(heard) == labels) >= same


@pytest.mark.parametrize("decibels", [-30, -20, -10, 6])
def test_the_level_does_not_change_the_word(clips, model, decibels):
    sounds, labels = clips
    gain = np.float32(10 ** (decibels / 20))
    heard = [model.classify(np.clip(sound * gain, -1.0, 1.0)).label for sound in sounds]
    assert np.sum(np.array(heard) == labels) >= 97


def test_a_noise_gate_does_not_change_the_word(clips, model):
    sounds, labels = clips
    words = [(sound, label) for sound, label in zip(sounds, labels, strict=True) if label in model.card.words]
    same = []
    for sound, label in words:
        start, end = (round(seconds * audio.SAMPLE_RATE) for seconds in word_endpoints(sound))
        margin = audio.SAMPLE_RATE // 20
        gated = sound.copy()
        gated[: max(0, start - margin)] = gated[end + margin :] = 0.0
        same.append(model.classify(gated).label == label)
    assert len(words) > 70
    assert np.mean(same) >= 0.97
