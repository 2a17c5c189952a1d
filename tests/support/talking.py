"""Sequences of words whose levels tell them apart."""

from dataclasses import replace

import numpy as np

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training.audio_pool import CLIP_SAMPLES, AudioPool, Recordings
from speechrnn.training.augment import Augment
from speechrnn.training.config import AugmentConfig, DataConfig, StreamConfig
from speechrnn.training.sequences import Sequences

BLOCK = 320


LABELS = ("yes", "no", "_unknown_", "_silence_")


UNKNOWN, SILENCE, NEITHER = 2, 3, 4


# Words are stretches of constant value in digital silence, so that a sequence tells what was laid where.
LEVELS = {"yes": 16_000, "no": 12_000, "bed": 8_000, "cat": 4_000}


WORD_BEGINS, WORD_ENDS = 0.25, 0.65


SPEECH = 2_000


PLAIN = AugmentConfig(
    shift_seconds=0.0, speed_probability=0.0, gate_probability=0.0, gain_probability=0.0, noise_probability=0.0,
    room_probability=0.0, band_limit_probability=0.0, response_probability=0.0, eight_bit_probability=0.0,
    dropout_probability=0.0,
)  # fmt: skip


NOTHING = StreamConfig(rows=1, seconds=6.0, speech_share=0.0, joined_share=0.0, noise_share=0.0)


def hiss(rng, samples):
    return (0.01 * rng.standard_normal(samples)).astype(np.float32)


def sounds(words=tuple(LEVELS), speech=True, noise=hiss, made_words_share=0.0):
    """What stands for the sound of a partition: two clips of each word, of the same sound."""
    clips = np.zeros((2 * len(words), CLIP_SAMPLES), np.int16)
    for i, word in enumerate(words):
        clips[2 * i : 2 * i + 2, int(WORD_BEGINS * SAMPLE_RATE) : int(WORD_ENDS * SAMPLE_RATE)] = LEVELS[word]
    others = [word for word in words if word not in LABELS]
    heard = AudioPool.__new__(AudioPool)  # without folders to read
    heard.config, heard.clips, heard.draw_noise = DataConfig(made_words_share=made_words_share), clips, noise
    heard.commands = [word for word in words if word in LABELS]
    heard.others, heard.other_probabilities = others, np.full(len(others), 1.0 / max(1, len(others)))
    heard.by_word = {word: [2 * i, 2 * i + 1] for i, word in enumerate(words)}
    heard.label_of = {word: word if word in LABELS else "_unknown_" for word in words}
    spoken = [np.full(30_000, SPEECH, np.int16), np.full(50_000, SPEECH, np.int16)]
    heard.speech = Recordings(spoken if speech else [])
    return heard


def sequences(augment=PLAIN, heard=None, **changes):
    return Sequences(replace(NOTHING, **changes), heard or sounds(), LABELS, Augment(augment), BLOCK)
