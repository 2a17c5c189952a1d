"""Augmentation is physics with numbers: rooms ring, lines pass a band, speed shifts pitch, noise has its level."""

import numpy as np
import pytest
import torch

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training.augment import (
    GATE_FADE_SECONDS,
    GATE_SECONDS,
    VTLP,
    Augment,
    SpecAugment,
    microphone_response,
    room_response,
    suppress,
)
from speechrnn.training.config import AugmentConfig, FrontEndConfig
from tests.support.noise import SECOND, augmented, no_noise, noise_clips

pytestmark = pytest.mark.usefixtures("one_thread")


def hiss(rng, samples):
    return (0.1 * rng.standard_normal(samples)).astype(np.float32)


def tone(frequency, rows=1, level=0.3):
    """A tone in the middle of the second, silent before and after."""
    time = torch.arange(SECOND) / SAMPLE_RATE
    envelope = torch.exp(-0.5 * ((time - 0.5) / 0.08) ** 2)
    return (level * envelope * torch.sin(2 * np.pi * frequency * time)).repeat(rows, 1)


def pitch(sound):
    """Centre of gravity of the power spectrum, in Hz."""
    power = torch.fft.rfft(sound.double()).abs().square()
    return float((power * torch.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)).sum() / power.sum())


def decibels_of(sound):
    return 10 * torch.log10(sound.double().square().mean(-1))


def test_with_everything_off_the_clips_come_out_as_they_went_in():
    sounds = noise_clips(5)
    assert torch.equal(augmented(sounds, noise=hiss), sounds)
    with_tail = augmented(sounds, noise=hiss, tail=3200)
    assert torch.equal(with_tail[:, :SECOND], sounds)
    assert not with_tail[:, SECOND:].any()


def test_what_goes_in_is_left_alone():
    sounds = noise_clips(6)
    before = sounds.clone()
    augmented(
        sounds, noise=hiss, shift_seconds=0.1, speed_probability=1.0, gate_probability=1.0, gain_probability=1.0,
        noise_probability=1.0, room_probability=1.0, band_limit_probability=1.0, response_probability=1.0,
        eight_bit_probability=1.0, suppressor_probability=1.0, dropout_probability=1.0,
    )  # fmt: skip
    assert torch.equal(sounds, before)


def test_the_same_draw_gives_the_same_sound_and_another_draw_another():
    config = AugmentConfig()
    one, same, other = (
        Augment(config)(np.random.default_rng(seed), noise_clips(6), np.zeros(6, bool), hiss, 19_200, 3_200)[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class Fixed:
    """Draws of `room_response`, with reverberation time, first reflection and direct-to-reverberant ratio given."""

    def __init__(self, *, reverberation_seconds, first_seconds=0.002, ratio_db=5.0):
        self.draws = iter([reverberation_seconds, first_seconds, ratio_db])
        self.rng = np.random.default_rng(3)

    def standard_normal(self, samples):
        return self.rng.standard_normal(samples)

    def uniform(self, low, high):
        value = next(self.draws)
        assert low <= value <= high
        return value


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6])
def test_a_room_decays_by_60_db_in_its_reverberation_time(seconds):
    """Schroeder 1965: the energy still to come falls along a straight line in dB; its slope is the room's."""
    response = room_response(Fixed(reverberation_seconds=seconds), SECOND).astype(np.float64)
    response[0] = 0.0  # the direct sound
    left = np.cumsum(np.square(response)[::-1])[::-1]
    curve = 10 * np.log10(left / left[0])
    from_5_to_35 = np.flatnonzero((curve < -5) & (curve > -35))
    slope = np.polyfit(from_5_to_35 / SAMPLE_RATE, curve[from_5_to_35], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize("ratio_db", [0.0, 7.0, 15.0])
def test_a_room_has_its_direct_to_reverberant_ratio(ratio_db):
    response = room_response(Fixed(reverberation_seconds=0.4, first_seconds=0.01, ratio_db=ratio_db), SECOND)
    direct, reverberant = np.square(response[0]), np.square(response[160:]).sum()
    # What arrives before the first reflection is taken out before the ratio is set.
    assert 10 * np.log10(direct / reverberant) == pytest.approx(ratio_db, abs=0.01)
    assert not response[1:160].any()


def test_a_room_comes_after_the_sound_and_not_before_it():
    click = torch.zeros(4, SECOND)
    click[:, 4000] = 0.5
    wet = augmented(click, room_probability=1.0)
    assert wet[:, :4000].abs().max() < 1e-5
    assert torch.allclose(wet[:, 4000], click[:, 4000], atol=1e-5)
    early, late = wet[:, 4160:6000].square().sum(1), wet[:, 9000:10840].square().sum(1)
    assert (early > 10 * late).all()


def test_a_microphone_colours_the_sound_and_leaves_it_as_loud():
    sounds = noise_clips(8)
    heard = augmented(sounds, response_probability=1.0)
    torch.testing.assert_close(decibels_of(heard), decibels_of(sounds), atol=0.01, rtol=0)
    before, after = (torch.fft.rfft(s).abs().square().unflatten(1, (-1, 127)).mean(2) for s in (sounds, heard))
    colours = 10 * torch.log10(after / before)
    assert (colours.amax(1) - colours.amin(1) > 3.0).all()
    assert not torch.allclose(colours[0], colours[1], atol=1.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_microphone_s_slopes_have_their_limits(seed):
    """Of the level of the ripple at most a few decibels an octave are left when a slope of the corner is taken away."""
    frequency = np.array([31.25, 62.5, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0])
    level = 20 * np.log10(microphone_response(np.random.default_rng(seed), frequency))
    assert np.isfinite(level).all()
    assert np.abs(np.diff(level[3:6])).max() < 18.0 + 6 * 3.0  # at most the upper slope, and the ripple
    assert level[3] - level[1] < 2 * 12.0 + 6 * 3.0


def test_lost_pieces_are_digital_zeros_and_the_rest_stays():
    sounds = noise_clips(40)
    heard = augmented(sounds, dropout_probability=1.0)
    lost = heard == 0.0
    assert torch.equal(heard[~lost], sounds[~lost])
    assert (lost.sum(1) >= SAMPLE_RATE * 0.005 - 1).sum() >= 39  # one piece may lie at the very end
    assert lost.sum(1).max() <= SAMPLE_RATE * (3 * 0.2 + 0.3)
    assert 10 <= lost[:, 0].sum() <= 32  # every other one begins with zeros


def test_a_band_limit_takes_energy_away_above_it_and_leaves_it_below():
    sounds = noise_clips(8)
    narrow = augmented(sounds, band_limit_probability=1.0)
    frequency = torch.fft.rfftfreq(SECOND, 1 / SAMPLE_RATE)

    def kept(low, high):
        band = (frequency >= low) & (frequency < high)
        before, after = (torch.fft.rfft(s)[:, band].abs().square().sum(1) for s in (sounds, narrow))
        return after / before

    assert (kept(7800, 8001) < 0.02).all()
    assert (kept(500, 2800) > 0.98).all()
    assert kept(4000, 7000).min() < 0.5  # of eight limits drawn between 3 and 7.5 kHz, some lie here
    assert kept(0, 40).min() < 0.1


def test_speed_moves_the_pitch_by_the_ratio_drawn():
    """Speeds are 20/17 to 20/23, without 20/20."""
    expected = {20 / new for new in (17, 18, 19, 21, 22, 23)}
    found = set()
    for seed in range(12):
        for sound in augmented(tone(1000.0, rows=4), seed, speed_probability=1.0, speed_range=0.15):
            ratio = pitch(sound) / 1000.0
            nearest = min(expected, key=lambda value: abs(value - ratio))
            assert ratio == pytest.approx(nearest, rel=2e-3)
            found.add(nearest)
    assert len(found) >= 4
    assert min(found) < 1 < max(found)


def test_speed_keeps_the_middle_in_the_middle():
    for seed in range(6):
        for sound in augmented(tone(1000.0, rows=2), seed, speed_probability=1.0):
            energy = sound.double().square()
            middle = float((energy * torch.arange(SECOND)).sum() / energy.sum())
            assert middle == pytest.approx(SECOND / 2, abs=20)


def test_speed_is_changed_in_the_share_asked_for():
    out = augmented(tone(1000.0, rows=10), speed_probability=0.3)
    assert sum(abs(pitch(sound) - 1000) > 10 for sound in out) == 3


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_small_batch_can_be_sped_up_too(rows):
    out = augmented(tone(1000.0, rows=rows), speed_probability=1.0)
    assert all(abs(pitch(sound) - 1000) > 10 for sound in out)


def test_a_speed_range_of_nothing_changes_nothing():
    sounds = noise_clips(4)
    assert torch.equal(augmented(sounds, speed_probability=1.0, speed_range=0.0), sounds)


def test_noise_has_the_ratio_to_the_clip_that_was_asked_for():
    sounds = noise_clips(40, level=0.02)
    noisy = augmented(sounds, noise=hiss, noise_probability=1.0, snr_low_db=5.0, snr_high_db=15.0)
    ratio = decibels_of(sounds) - decibels_of(noisy - sounds)
    assert ratio.min() >= 5.0 - 0.1
    assert ratio.max() <= 15.0 + 0.1
    assert ratio.max() - ratio.min() > 5.0


def test_noise_is_added_in_the_share_asked_for():
    sounds = noise_clips(200)
    noisy = augmented(sounds, noise=hiss, noise_probability=0.7)
    assert 0.55 < float((noisy != sounds).any(1).float().mean()) < 0.85


def test_a_gate_leaves_the_word_and_makes_the_rest_digital_zeros():
    word = slice(int(0.3 * SECOND), int(0.6 * SECOND))
    sounds = noise_clips(40, level=0.001)
    sounds[:, word] *= 200.0
    gated = augmented(sounds, gate_probability=1.0)
    assert torch.equal(gated[:, word], sounds[:, word])
    margin = int((GATE_SECONDS + 3 * GATE_FADE_SECONDS) * SAMPLE_RATE)
    assert not gated[:, : word.start - margin].any()
    assert not gated[:, word.stop + margin :].any()
    opens = (gated != 0).int().argmax(1)
    assert len(opens.unique()) > 10  # each where it likes
    some = augmented(sounds, gate_probability=0.5)
    assert 0.25 < float((some == 0).any(1).float().mean()) < 0.75


def test_gain_stays_in_its_range():
    sounds = noise_clips(60, level=0.01)
    changed = augmented(sounds, gain_probability=1.0, gain_low_db=-34.0, gain_high_db=6.0)
    gain = decibels_of(changed) - decibels_of(sounds)
    assert gain.min() >= -34.01
    assert gain.max() <= 6.01
    assert gain.min() < -25
    assert gain.max() > 0


def test_a_converter_of_eight_bits_knows_256_levels():
    sounds = noise_clips(20, level=0.1)
    coarse = augmented(sounds, eight_bit_probability=1.0)
    assert torch.equal(coarse * 128, (coarse * 128).round())
    step = 1 / 128
    error = coarse - sounds
    offset = error.mean(dim=1, keepdim=True)  # none where the converter rounds, half a step where it cuts off
    assert {round(2 * float(value) / step) for value in offset} == {0, -1}
    assert (error - offset).abs().max() <= 0.51 * step
    # Rounding is noise of a twelfth of a squared step (Bennett 1948).
    assert decibels_of(error - offset).numpy() == pytest.approx(10 * np.log10(step**2 / 12), abs=0.2)


def test_what_is_too_loud_is_clipped_as_a_microphone_clips_it():
    sounds = noise_clips(4, level=0.5)
    loud = augmented(sounds, gain_probability=1.0, gain_low_db=12.0, gain_high_db=12.0)
    assert torch.allclose(loud, (10 ** (12 / 20) * sounds).clamp(-1, 1), atol=1e-6)
    assert float((loud.abs() == 1).float().mean()) > 0.3


def test_a_shift_stays_in_its_bounds_and_goes_both_ways():
    click = torch.zeros(60, SECOND)
    click[:, SECOND // 2] = 0.5
    moved = augmented(click, shift_seconds=0.1).argmax(1) - SECOND // 2
    assert moved.abs().max() <= 1600
    assert moved.min() < -800
    assert moved.max() > 800


def test_a_longer_canvas_holds_the_whole_clip_before_its_tail():
    click = torch.zeros(60, SECOND)
    click[:, 0] = click[:, -1] = 0.5
    out = augmented(click, length=2 * SECOND + 3200, tail=3200)
    starts = out.argmax(1)
    assert (out.count_nonzero(1) == 2).all()
    assert (out[torch.arange(60), starts + SECOND - 1] == 0.5).all()
    assert starts.max() <= SECOND
    assert starts.max() - starts.min() > SECOND // 2


def test_half_of_the_clips_end_in_digital_silence_and_the_noise_goes_on_in_the_others():
    out = augmented(noise_clips(100), noise=hiss, noise_probability=1.0, tail=3200)
    silent_tail = ~out[:, SECOND:].any(1)
    assert out[:, :SECOND].any(1).all()
    assert 0.35 < float(silent_tail.float().mean()) < 0.65


def test_silence_is_noise_of_all_levels_and_sometimes_digital_silence():
    sounds = torch.zeros(200, SECOND)
    out = augmented(sounds, noise=hiss, silent=np.ones(200, bool))
    digital = ~out.any(1)
    assert 0.03 < float(digital.float().mean()) < 0.2
    levels = decibels_of(out[~digital]) - 20 * np.log10(0.1)
    assert levels.min() < -40
    assert levels.max() > 0
    assert levels.max() <= 10.1
    assert levels.min() >= -50.1


def test_silence_holds_nothing_of_the_clip():
    out = augmented(noise_clips(4), silent=np.array([True, False, True, False]))
    assert out.any(1).tolist() == [False, True, False, True]


def suppressed(sound, noise, taken=2.0, floor_db=20.0):
    class Draws:
        draws = iter([np.full((len(sound), 1, 1), taken), np.full((len(sound), 1, 1), floor_db)])

        def uniform(self, low, high, size):
            return next(self.draws)

    return suppress(Draws(), sound, noise)


def test_a_suppressor_leaves_a_loud_word_and_takes_the_noise_around_it():
    word, noise = tone(800), noise_clips(1, level=0.003)
    out = suppressed(word + noise, noise)[0]
    said = slice(SECOND * 2 // 5, SECOND * 3 // 5)
    assert decibels_of((out - word[0])[said]) < decibels_of(word[0][said]) - 25
    before = decibels_of((word + noise)[0, : SECOND // 5])
    assert before - 20.5 < decibels_of(out[: SECOND // 5]) < before - 6


def test_a_suppressor_takes_no_more_than_its_floor_and_nothing_where_no_noise_is_expected():
    noise = noise_clips(2)
    all_taken = suppressed(noise, noise, taken=100.0)
    assert decibels_of(all_taken) == pytest.approx(decibels_of(noise) - 20, abs=0.5)
    assert torch.allclose(suppressed(noise, torch.zeros_like(noise)), noise, atol=1e-5)


def test_suppressed_sounds_are_as_many_as_wanted_and_digital_silence_stays():
    sounds = noise_clips(40)
    sounds[0] = 0.0
    out = augmented(sounds, noise=hiss, suppressor_probability=0.5)
    changed = (out != sounds).any(1)
    assert 10 < int(changed.sum()) < 30
    assert not out[0].any()
    assert torch.equal(augmented(sounds, noise=no_noise, suppressor_probability=1.0), sounds)


def masked(frames, axis):
    """Which bands or frames are masked whole, per row."""
    return (frames == 0).all(dim=axis)


def spec_augmented(**changes):
    nothing = {"frequency_masks": 0, "time_masks": 0}
    torch.manual_seed(0)
    return SpecAugment(AugmentConfig(**{**nothing, **changes}))(torch.ones(200, 100, 40))


def test_frequency_masks_take_whole_bands_and_no_more_than_they_may():
    out = spec_augmented(frequency_masks=2, frequency_mask_bands=7)
    bands = masked(out, 1).sum(1)
    assert 7 < bands.max() <= 14
    assert torch.equal((out == 0).sum((1, 2)), bands * 100)  # nothing is masked in part
    assert len(bands.unique()) > 5  # each clip has its own


def test_time_masks_take_whole_frames_and_no_more_than_they_may():
    out = spec_augmented(time_masks=2, time_mask_frames=18)
    frames = masked(out, 2).sum(1)
    assert 18 < frames.max() <= 36
    assert torch.equal((out == 0).sum((1, 2)), frames * 40)


def test_what_is_not_masked_is_untouched():
    frames = torch.randn(8, 100, 40, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    out = SpecAugment(AugmentConfig())(frames)
    assert torch.equal(out[out != 0], frames[out != 0])
    assert torch.equal(SpecAugment(AugmentConfig(frequency_masks=0, time_masks=0))(frames), frames)


def vtlp(frames, **changes):
    torch.manual_seed(0)
    return VTLP(AugmentConfig(**changes), FrontEndConfig())(frames)


def test_vtlp_moves_a_formant_as_far_as_it_may_and_stretches_the_clip_by_one_factor():
    centres = torch.from_numpy(VTLP(AugmentConfig(), FrontEndConfig()).centres).float()
    heard = vtlp(centres.expand(500, 3, 40), vocal_tract_probability=0.5, vocal_tract_range=0.1)
    factor = (heard / centres)[:, :, 5:30]  # away from the edges, beyond which there is nothing to take
    assert torch.allclose(factor, factor[:, :1, :1].expand_as(factor), rtol=1e-4)
    assert 0.9 <= factor.min() < 0.91 < 1.09 < factor.max() <= 1.1001
    assert 200 < (factor == 1.0).all((1, 2)).sum() < 300


def test_the_bands_at_the_edge_stand_for_what_lies_beyond():
    frames = torch.randn(200, 5, 40, generator=torch.Generator().manual_seed(1))
    heard = vtlp(frames, vocal_tract_probability=1.0, vocal_tract_range=0.3)
    from_beyond = (heard[:, :, -1] == frames[:, :, -1]).all(1)  # where formants are lower than they were
    assert 70 < from_beyond.sum() < 130
    assert (heard.amax((1, 2)) <= frames.amax((1, 2))).all()
    assert (heard.amin((1, 2)) >= frames.amin((1, 2))).all()


def test_without_another_throat_frames_are_untouched():
    frames = torch.randn(8, 100, 40, generator=torch.Generator().manual_seed(1))
    assert torch.equal(vtlp(frames), frames)
    assert torch.equal(vtlp(frames, vocal_tract_probability=1.0, vocal_tract_range=0.0), frames)
