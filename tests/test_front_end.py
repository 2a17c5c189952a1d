"""Log-mel frames: the same as other people's, where a tone belongs, and never ahead of the sound."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training.config import FrontEndConfig
from speechrnn.training.front_end import FrontEnd
from tests.support.sound_kinds import sounds

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filterbank", "ignore:Empty filters detected")


pytestmark = pytest.mark.usefixtures("one_thread")


def fresh_frames(front_end, audio):
    return front_end(audio, audio.new_zeros(len(audio), front_end.tail_length))[0]


def centred(heard, config):
    """The others put the window into the middle of the n_fft samples: give them these samples around.

    The tail is whole hops: what is older than the first window is left out.
    """
    heard = heard[(len(heard) - config.window_length) % config.hop_length :]
    left = (config.n_fft - config.window_length) // 2
    return np.pad(heard, (left, config.n_fft - config.window_length - left))


def torchaudio_mel(heard, config):
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=SAMPLE_RATE, n_fft=config.n_fft, win_length=config.window_length, hop_length=config.hop_length,
        f_min=config.f_min, f_max=config.f_max, n_mels=config.n_mels, power=2.0, center=False, norm=None,
        mel_scale="htk",
    )  # fmt: skip
    return mel(torch.from_numpy(centred(heard, config))).numpy().T


def librosa_mel(heard, config):
    return librosa.feature.melspectrogram(
        y=centred(heard, config), sr=SAMPLE_RATE, n_fft=config.n_fft, win_length=config.window_length,
        hop_length=config.hop_length, fmin=config.f_min, fmax=config.f_max, n_mels=config.n_mels, power=2.0,
        window="hann", center=False, htk=True, norm=None,
    ).T  # fmt: skip


OTHERS = pytest.mark.parametrize("other", [torchaudio_mel, librosa_mel], ids=["torchaudio", "librosa"])


@OTHERS
def test_the_default_frames_are_those_of_other_libraries(other):
    config = FrontEndConfig()
    front_end = FrontEnd(config)
    heard = sounds(front_end.tail_length + 100 * config.hop_length)
    expected = other(heard[0].numpy(), config)
    ours = front_end.mel_power(heard)[0].numpy()
    assert ours.shape == expected.shape == (100, config.n_mels)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * expected.max(), rtol=0)
    logarithms, _ = front_end(heard[:, front_end.tail_length :], heard[:, : front_end.tail_length])
    np.testing.assert_allclose(logarithms[0].numpy(), np.log(expected + config.log_offset), atol=1e-4, rtol=0)


@st.composite
def front_ends(draw):
    window_length = draw(st.integers(32, 640))
    return FrontEndConfig(
        window_length=window_length,
        hop_length=draw(st.integers(16, window_length)),
        n_fft=2 * draw(st.integers((window_length + 1) // 2, 400)),
        n_mels=draw(st.integers(2, 80)),
        f_min=float(draw(st.integers(0, 300))),
        f_max=float(draw(st.integers(2000, 8000))),
    )


@OTHERS
@settings(deadline=None, max_examples=25)
@given(config=front_ends(), hops=st.integers(1, 12), seed=st.integers(0, 1000))
def test_frames_of_any_parameters_are_those_of_other_libraries(other, config, hops, seed):
    front_end = FrontEnd(config)
    heard = sounds(front_end.tail_length + hops * config.hop_length, seed)
    expected = other(heard[0].numpy(), config)
    assume(expected.max() > 0)  # a few wide bands may all lie between the lines of a short spectrum
    ours = front_end.mel_power(heard)[0].numpy()
    assert ours.shape == expected.shape == (hops, config.n_mels)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * expected.max(), rtol=0)


def band_centres(config):
    """Centre of each band in Hz: equal steps on the HTK scale, 2595 log10(1 + f / 700)."""
    low, high = (2595.0 * np.log10(1.0 + f / 700.0) for f in (config.f_min, config.f_max))
    return 700.0 * (10.0 ** (np.linspace(low, high, config.n_mels + 2)[1:-1] / 2595.0) - 1.0)


def test_a_tone_shows_up_in_its_mel_band():
    config = FrontEndConfig()
    time = torch.arange(3200) / SAMPLE_RATE
    for band, frequency in enumerate(band_centres(config)):
        frames = fresh_frames(FrontEnd(config), 0.5 * torch.sin(2 * np.pi * frequency * time)[None])[0, 3:]
        # Where bands are narrower than two lines of the spectrum (31 Hz apart), the next line may be the nearer one.
        allowed = 0 if frequency > 500 else 1
        assert (frames.argmax(1) - band).abs().max() <= allowed, f"{frequency:.0f} Hz"


def test_a_tone_outside_the_range_stays_out():
    time = torch.arange(3200) / SAMPLE_RATE
    inside, outside = (0.5 * torch.sin(2 * np.pi * f * time)[None] for f in (3000.0, 7900.0))
    front_end = FrontEnd(FrontEndConfig(f_max=6000.0))
    loud, quiet = (fresh_frames(front_end, tone)[0, 5:].exp().sum(1).max() for tone in (inside, outside))
    assert quiet < 1e-6 * loud + 40 * 2e-6  # every band at the offset of the logarithm


def test_twice_the_amplitude_is_four_times_the_power():
    audio = sounds(3200)
    front_end = FrontEnd(FrontEndConfig(log_offset=1e-12))
    difference = fresh_frames(front_end, 2 * audio) - fresh_frames(front_end, audio)
    assert torch.allclose(difference, torch.full_like(difference, np.log(4.0)), atol=1e-4)


def test_digital_silence_is_the_floor():
    frames = fresh_frames(FrontEnd(FrontEndConfig(log_offset=1e-6)), torch.zeros(2, 1600))
    assert torch.allclose(frames, torch.full((2, 10, 40), float(np.log(1e-6))))


@pytest.mark.parametrize("sample", [0, 159, 160, 1000, 2399])
def test_a_click_touches_the_frames_that_hear_it_and_no_others(sample):
    config = FrontEndConfig()
    silence = torch.zeros(1, 3200)
    click = silence.clone()
    click[0, sample] = 100.0  # loud, because the window is nearly zero where a sample enters it
    front_end = FrontEnd(config)
    touched = (fresh_frames(front_end, click) != fresh_frames(front_end, silence))[0].any(1)
    ends = (torch.arange(20) + 1) * config.hop_length
    hears = (sample < ends) & (sample >= ends - config.window_length)
    # The window's first coefficient is zero: the sample that leaves next is heard no more.
    hears &= sample != ends - config.window_length
    assert touched.tolist() == hears.tolist()


def test_frames_before_a_click_are_equal_to_the_last_bit():
    audio = sounds(3200)
    click = audio.clone()
    click[0, 1600:] += 1.0
    front_end = FrontEnd(FrontEndConfig())
    assert torch.equal(fresh_frames(front_end, audio)[:, :10], fresh_frames(front_end, click)[:, :10])


@settings(deadline=None, max_examples=40)
@given(config=front_ends(), parts=st.lists(st.integers(1, 7), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_chunked_equals_whole(config, parts, seed):
    front_end = FrontEnd(config)
    audio = sounds(sum(parts) * config.hop_length, seed, batch=2)
    whole, last_tail = front_end(audio, audio.new_zeros(2, front_end.tail_length))
    tail, pieces = audio.new_zeros(2, front_end.tail_length), []
    for part in audio.split([n * config.hop_length for n in parts], dim=1):
        frames, tail = front_end(part, tail)
        pieces.append(frames)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-6)
    assert torch.equal(tail, last_tail)
