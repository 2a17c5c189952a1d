"""Augmentation: speed, VTLP, rooms, babble, noise, microphones, converters and SpecAugment."""

from collections.abc import Callable

import librosa
import numpy as np
import torch
import torchaudio
from torch import Tensor, nn

from speechrnn.audio import SAMPLE_RATE
from speechrnn.evaluation.endpoints import word_endpoints
from speechrnn.level import QUIETEST, db_to_amplitude, loudest_rms, rms, scale_to_snr
from speechrnn.training.config import AugmentConfig, FrontEndConfig

GATE_SECONDS, GATE_FADE_SECONDS = 0.2, 0.01  # by how much a noise gate opens before and closes after a word, at most
SUPPRESSOR_FFT = 512  # samples: 32 ms
SUPPRESSOR_SNR = -5.0, 15.0  # dB
SPEED_UNIT = 20  # speeds are ratios to 20: small resampling filters
NoiseSource = Callable[[np.random.Generator, int], "np.ndarray | None"]


def room_response(
    rng: np.random.Generator,
    samples: int,
    seconds: tuple[float, float] = (0.1, 0.6),
    ratio_db: tuple[float, float] = (0.0, 15.0),
) -> np.ndarray:
    """Impulse response of a simulated room: direct sound and an exponentially decaying diffuse field [samples].

    Polack's statistical model (Polack 1988; Habets, "Single- and multi-microphone speech dereverberation", 2007):
    white noise times exp(-3 ln(10) t / RT60). Reverberation time and direct-to-reverberant ratio lie in `seconds` and
    `ratio_db`.
    """
    time = np.arange(samples) / SAMPLE_RATE
    field = rng.standard_normal(samples) * np.exp(-3.0 * np.log(10.0) * time / rng.uniform(*seconds))
    field[: int(rng.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0.0  # the first reflection comes later than the direct sound
    response = field * db_to_amplitude(-rng.uniform(*ratio_db)) / np.sqrt(np.square(field).sum())
    response[0] = 1.0
    return response.astype(np.float32)


def microphone_response(rng: np.random.Generator, frequency: np.ndarray) -> np.ndarray:
    """Amplitude response at each frequency (Hz) of a random microphone, cheap, covered or turned away.

    Above a corner between 0.7 and 5.6 kHz it falls by up to 18 dB an octave, below one between 60 and 350 Hz by up to
    12; a ripple of 3 dB has nodes an octave apart.
    """
    octave = np.log2(np.maximum(frequency, 20.0) / 1000.0)
    high, low = rng.uniform(-0.5, 2.5), rng.uniform(-4.0, -1.5)
    level = -rng.uniform(0.0, 18.0) * np.maximum(octave - high, 0.0)
    level -= rng.uniform(0.0, 12.0) * np.maximum(low - octave, 0.0)
    level += np.interp(octave, np.arange(-4.0, 4.0), rng.normal(0.0, 3.0, 8))
    return db_to_amplitude(level)


def loudest_tenth(sound: np.ndarray) -> float:
    """Root mean square of the loudest tenth of a second of a sound [samples]."""
    return loudest_rms(sound, SAMPLE_RATE // 10)


def suppress(rng: np.random.Generator, sounds: Tensor, noise: Tensor) -> Tensor:
    """Sounds with noise in them after a noise suppressor, as in phones and browsers [rows, samples].

    Spectral subtraction with oversubtraction and a floor (Berouti, Schwartz and Makhoul, "Enhancement of speech
    corrupted by acoustic noise", 1979): one to four times the mean power of the noise is subtracted from each
    frame, which is attenuated by 10 to 30 dB at most. Noise above its mean remains as musical tones.
    """

    def spectrum(sound: Tensor) -> Tensor:
        return torch.stft(sound, SUPPRESSOR_FFT, SUPPRESSOR_FFT // 4, window=window, return_complex=True)

    window = torch.hann_window(SUPPRESSOR_FFT)
    mixture, expected = spectrum(sounds), spectrum(noise).abs().square().mean(2, keepdim=True)
    factor = torch.from_numpy(rng.uniform(1.0, 4.0, (len(sounds), 1, 1))).float()
    floor = torch.from_numpy(db_to_amplitude(-rng.uniform(10.0, 30.0, (len(sounds), 1, 1)))).float()
    gain = (1.0 - factor * expected / mixture.abs().square().clamp(min=1e-12)).clamp(min=0.0).sqrt().maximum(floor)
    return torch.istft(mixture * gain, SUPPRESSOR_FFT, SUPPRESSOR_FFT // 4, window=window, length=sounds.shape[1])


class Augment:
    """Augments a batch of clips. Settings and their units: `AugmentConfig`."""

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(
        self,
        rng: np.random.Generator,
        sounds: Tensor,
        silent: np.ndarray,
        noise: NoiseSource,
        length: int,
        tail: int,
        beds: NoiseSource | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """Augmented `sounds` [batch, samples] on a canvas [batch, length], and the sample at which each one begins.

        `silent` [batch] marks rows of noise alone; `beds` gives babble behind the others. The last `tail` samples are
        digital silence in half of the rows, as at the end of a clip; in the others the noise goes on, as in a stream.
        With `twins` there are two views of each clip (R-Drop): [2 * batch, length], and [2 * batch] beginnings.
        """
        c = self.config
        sounds = self.rooms_and_lines(rng, self.change_speed(rng, self.gate(rng, sounds)))
        canvas, starts = torch.zeros(len(sounds), length), np.zeros(len(sounds), np.int64)
        for row, sound in enumerate(sounds):
            free = length - tail - sounds.shape[1]
            shift = int(rng.uniform(-c.shift_seconds, c.shift_seconds) * SAMPLE_RATE)
            starts[row] = start = shift + int(rng.integers(free + 1))
            begin, end = max(0, start), min(length, start + len(sound))
            if silent[row]:
                self.noise_alone(rng, canvas[row], noise)
            else:
                canvas[row, begin:end] = sound[begin - start : end - start]
                if beds and rng.random() < c.bed_probability:
                    self.add_bed(rng, canvas[row], loudest_tenth(sound.numpy()), beds)
                if rng.random() < c.noise_probability:
                    self.add_noise(rng, canvas[row], sound, noise)
        canvas = self.suppress_noise(rng, canvas, noise)
        cut_off = torch.from_numpy(rng.random(len(canvas)) < 0.5)
        canvas[cut_off, length - tail :] = 0.0
        views = [self.record(rng, canvas) for _ in range(2 if c.twins else 1)]
        return torch.cat(views), np.tile(starts, len(views))

    def record(self, rng: np.random.Generator, sounds: Tensor) -> Tensor:
        """The sounds [batch, samples] after an analogue-to-digital converter: clipping, 8 bits, gain, dropouts."""
        c = self.config
        taken = sounds.clone()
        for row in range(len(taken)):
            if c.overdrive_probability and rng.random() < c.overdrive_probability:
                peak = taken[row].abs().max().clamp(min=1e-4)
                taken[row] = (taken[row] / peak * db_to_amplitude(rng.uniform(0.0, c.overdrive_db))).clamp(-1.0, 1.0)
            if rng.random() < c.eight_bit_probability:
                half = 0.5 * float(rng.integers(2))  # some converters round, some (libsndfile) cut off
                taken[row] = torch.floor(taken[row] * 128.0 + half) / 128.0
            if rng.random() < c.gain_probability:
                taken[row] *= db_to_amplitude(rng.uniform(c.gain_low_db, c.gain_high_db))
            if rng.random() < c.dropout_probability:
                self.drop(rng, taken[row])
        return taken.clamp_(-1.0, 1.0)

    def drop(self, rng: np.random.Generator, sound: Tensor) -> None:
        """Dropouts in place: up to three of 5 to 200 ms, and in half of the cases 0.3 s at most at the start."""
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(len(sound)))
            sound[start : start + int(SAMPLE_RATE * 10.0 ** rng.uniform(-2.3, -0.7))] = 0.0
        if rng.random() < 0.5:
            sound[: int(rng.uniform(0.0, 0.3) * SAMPLE_RATE)] = 0.0

    def gate(self, rng: np.random.Generator, sounds: Tensor) -> Tensor:
        """A noise gate on some of the sounds: digital silence before and after the word."""
        if not self.config.gate_probability:
            return sounds
        out = sounds.clone()
        time = torch.arange(sounds.shape[1]) / SAMPLE_RATE
        for row in np.flatnonzero(rng.random(len(sounds)) < self.config.gate_probability):
            start, end = word_endpoints(sounds[row].numpy())
            opens, closes = start - rng.uniform(0.0, GATE_SECONDS), end + rng.uniform(0.0, GATE_SECONDS)
            out[row] *= (torch.minimum(time - opens, closes - time) / GATE_FADE_SECONDS).clamp(0.0, 1.0)
        return out

    def change_speed(self, rng: np.random.Generator, sounds: Tensor) -> Tensor:
        """Speed perturbation by resampling, pitch included; two speeds a batch, each for half of the chosen rows."""
        steps = int(self.config.speed_range * SPEED_UNIT)
        rows = rng.permutation(len(sounds))[: int(len(sounds) * self.config.speed_probability)]
        out = sounds.clone()
        for part in np.array_split(rows, 2):
            if not steps or not len(part):
                continue
            new = SPEED_UNIT + int(rng.choice([s for s in range(-steps, steps + 1) if s]))
            changed = torchaudio.functional.resample(sounds[part], SPEED_UNIT, new)
            extra = sounds.shape[1] - changed.shape[1]  # the middle stays in the middle
            out[part] = nn.functional.pad(changed, (extra // 2, extra - extra // 2))
        return out

    def rooms_and_lines(self, rng: np.random.Generator, sounds: Tensor) -> Tensor:
        """Reverberation, band limits and microphone responses, each for some of the sounds [batch, samples]."""
        out = sounds.clone()
        samples = sounds.shape[1]
        rooms = np.flatnonzero(rng.random(len(sounds)) < self.config.room_probability)
        if len(rooms):
            c = self.config
            kinds = (c.room_low_seconds, c.room_high_seconds), (c.room_low_db, c.room_high_db)
            responses = torch.from_numpy(np.stack([room_response(rng, samples // 2 + 1, *kinds) for _ in rooms]))
            out[rooms] = torchaudio.functional.fftconvolve(sounds[rooms], responses)[:, :samples]
        narrow = np.flatnonzero(rng.random(len(sounds)) < self.config.band_limit_probability)
        coloured = np.flatnonzero(rng.random(len(sounds)) < self.config.response_probability)
        frequency = torch.fft.rfftfreq(samples, 1.0 / SAMPLE_RATE)
        if len(narrow):
            low = torch.from_numpy(rng.uniform(0.0, 300.0, (len(narrow), 1)))
            high = torch.from_numpy(rng.uniform(3000.0, 7500.0, (len(narrow), 1)))
            passes = torch.sigmoid((frequency - low) / 20.0) * torch.sigmoid((high - frequency) / 50.0)
            out[narrow] = torch.fft.irfft(torch.fft.rfft(out[narrow]) * passes, samples).float()
        if len(coloured):
            curves = torch.from_numpy(np.stack([microphone_response(rng, frequency.numpy()) for _ in coloured]))
            flat = out[coloured]
            shaped = torch.fft.irfft(torch.fft.rfft(flat) * curves, samples).float()
            level = (flat.square().sum(1) / shaped.square().sum(1).clamp(min=1e-12)).sqrt()
            out[coloured] = shaped * level[:, None]  # at the level of before
        return out

    def add_noise(self, rng: np.random.Generator, canvas: Tensor, sound: Tensor, noise: NoiseSource) -> None:
        """Add noise to a row [samples] in place, at an SNR in dB to `sound` [samples]."""
        piece = noise(rng, len(canvas))
        if piece is not None:
            snr_db = rng.uniform(self.config.snr_low_db, self.config.snr_high_db)
            canvas += torch.from_numpy(scale_to_snr(piece, sound.numpy(), snr_db))

    def add_bed(self, rng: np.random.Generator, canvas: Tensor, loudest: float, beds: NoiseSource) -> None:
        """Add babble to a row [samples] in place, below `loudest`, the RMS of the loudest tenth of a second."""
        piece = beds(rng, len(canvas))
        if piece is not None:
            level = loudest / db_to_amplitude(rng.uniform(self.config.bed_low_db, self.config.bed_high_db))
            canvas += torch.from_numpy(piece * np.float32(level / max(rms(piece), QUIETEST)))

    def suppress_noise(self, rng: np.random.Generator, sounds: Tensor, noise: NoiseSource) -> Tensor:
        """Noise followed by a noise suppressor, in some of the sounds [batch, samples]."""
        if not self.config.suppressor_probability:
            return sounds
        chosen = np.flatnonzero(rng.random(len(sounds)) < self.config.suppressor_probability).tolist()
        drawn = [(row, noise(rng, sounds.shape[1])) for row in chosen if sounds[row].any()]
        pieces = {row: piece for row, piece in drawn if piece is not None}
        if not pieces:
            return sounds
        rows = list(pieces)
        scaled = [scale_to_snr(pieces[row], sounds[row].numpy(), rng.uniform(*SUPPRESSOR_SNR)) for row in rows]
        added = torch.from_numpy(np.stack(scaled))
        out = sounds.clone()
        out[rows] = suppress(rng, sounds[rows] + added, added)
        return out

    def noise_alone(self, rng: np.random.Generator, canvas: Tensor, noise: NoiseSource) -> None:
        """Add noise to a row in place, at a gain of -50 to 10 dB; one row in ten stays digital silence."""
        piece = noise(rng, len(canvas))
        if piece is not None and rng.random() >= 0.1:
            canvas += torch.from_numpy(piece) * db_to_amplitude(rng.uniform(-50.0, 10.0))


class VTLP(nn.Module):
    """Vocal tract length perturbation of log-mel frames: formants move, pitch and pace stay.

    The frequency axis is stretched by a random factor for each clip (Jaitly and Hinton, "Vocal tract length
    perturbation improves speech recognition", 2013). Beyond the last band its value is repeated.
    """

    def __init__(self, config: AugmentConfig, front_end: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        edges = librosa.mel_frequencies(
            front_end.n_mels + 2, fmin=front_end.f_min, fmax=front_end.f_max, htk=front_end.mel_scale == "htk"
        )
        self.centres = edges[1:-1]  # Hz

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, bands] -> the same shape."""
        c, clips, bands = self.config, len(frames), frames.shape[2]
        factor = 1.0 + c.vocal_tract_range * (2.0 * torch.rand(clips) - 1.0)
        factor[torch.rand(clips) >= c.vocal_tract_probability] = 1.0
        warped = self.centres * factor.double()[:, None].numpy()
        position = torch.from_numpy(np.interp(warped, self.centres, np.arange(bands))).to(frames)[:, None]
        lower = position.long().clamp(max=bands - 2)
        below, above = (frames.gather(2, band.expand_as(frames)) for band in (lower, lower + 1))
        return torch.lerp(below, above, position - lower)


class SpecAugment(nn.Module):
    """Masks of frequency bands and of time on normalised log-mel frames (Park et al. 2019, arXiv:1904.08779)."""

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        frequency = torchaudio.transforms.FrequencyMasking(config.frequency_mask_bands, iid_masks=True)
        time = torchaudio.transforms.TimeMasking(config.time_mask_frames, iid_masks=True)
        self.masks = nn.Sequential(*[frequency] * config.frequency_masks, *[time] * config.time_masks)

    def forward(self, frames: Tensor) -> Tensor:
        """[batch, frames, bands] -> the same shape; masked parts are 0, the mean."""
        return self.masks(frames.transpose(1, 2)[:, None])[:, 0].transpose(1, 2)


def mix(audio: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Mixtures of some of the clips [batch, samples] with the one before, 0 to 20 dB weaker; and which ones [batch]."""
    mixed = torch.rand(len(audio), device=audio.device) < probability
    gain = 10.0 ** -torch.rand(len(audio), 1, device=audio.device)
    return torch.where(mixed[:, None], audio + gain * audio.roll(1, 0), audio).clamp(-1.0, 1.0), mixed
