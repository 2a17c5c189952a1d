"""The log-mel front end as a torch module: causal, with the same frames however the sound is split into blocks."""

import torch
import torchaudio
from torch import Tensor, nn

from speechrnn.audio import SAMPLE_RATE
from speechrnn.training.config import FrontEndConfig


class FrontEnd(nn.Module):
    """Log-mel frames of the audio up to each hop.

    Frame j is taken from the `window_length` samples that end with hop j, so it never looks ahead. Power
    spectrum with a periodic Hann window, HTK mel bands without area normalisation (torchaudio's defaults,
    `librosa.feature.melspectrogram(htk=True, norm=None)`; with `mel_scale` "slaney", librosa's defaults), natural
    logarithm.
    """

    bands: Tensor
    window: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        bands = torchaudio.functional.melscale_fbanks(
            config.n_fft // 2 + 1,
            config.f_min,
            config.f_max,
            config.n_mels,
            SAMPLE_RATE,
            norm="slaney" if config.mel_scale == "slaney" else None,
            mel_scale=config.mel_scale,
        )
        self.register_buffer("bands", bands, persistent=False)  # [bins, n_mels]
        self.register_buffer("window", torch.hann_window(config.window_length), persistent=False)

    @property
    def tail_length(self) -> int:
        """Samples of the past that the next frame still needs, in whole hops."""
        hops = -(-self.config.window_length // self.config.hop_length)
        return (hops - 1) * self.config.hop_length

    def mel_power(self, audio: Tensor) -> Tensor:
        """[batch, tail_length + hops * hop_length] -> [batch, hops, n_mels], before the logarithm."""
        skipped = self.tail_length + self.config.hop_length - self.config.window_length  # older than the first window
        frames = audio[..., skipped:].unfold(-1, self.config.window_length, self.config.hop_length)
        if not self.training:  # where float32 is exact enough, and takes a quarter less time
            frames = frames.double()  # see speechrnn.export.front_end
        parts = torch.view_as_real(torch.fft.rfft(frames * self.window, self.config.n_fft))
        return (parts * parts).sum(-1).to(self.bands.dtype) @ self.bands

    def forward(self, audio: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """Sound [batch, samples] after `tail` [batch, tail_length] -> frames [batch, hops, n_mels], next tail."""
        whole = torch.cat([tail, audio], dim=1)
        return torch.log(self.mel_power(whole) + self.config.log_offset), whole[:, whole.shape[1] - self.tail_length :]
