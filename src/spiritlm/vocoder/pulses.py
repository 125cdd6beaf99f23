"""Training speech whose phase units determine: voices re-synthesized with a whole number of pulses in every unit.

Units, also those of pitch, do not say where the pulses of a voice fall, so a generator that is asked for the waveform
itself learns their average, which is silence, and one that is asked for spectra alone learns a voice late. Here the
voiced parts of the wanted speech are made anew: pulses, the first at the border of each unit of 640 samples, the others
at equal distances, pass through the minimum-phase filter of the speech around them. f0 becomes the nearest multiple of
25 Hz, the waveform a function of the envelope and of that number; the phase is continuous at the borders, for a whole
number of periods lies between them. What is not voiced stays as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from spiritlm.vocoder.losses import PeriodicityDistance, Spectrum
from spiritlm.vocoder.recipe import CODE_HOP

HOP = 160  # samples between analyses; four of them are a unit
VOICED = 0.5  # normalized autocorrelation at the period
QUIET = 1e-3  # root mean square below which nothing is voiced
OCTAVE = 0.05  # correlation by which twice the period must be better
SMOOTH = 40  # cepstral coefficients of the envelope: it has no harmonics of voices below 400 Hz


class PulseTargets(nn.Module):
    """Waveforms float32 [B, 640 T] at 16 kHz, which begin at the border of a unit, to waveforms of the same shape with
    pulses as above, and the share of each sample that is voiced [B, 640 T], 0 to 1. Nothing is differentiated.
    Deterministic on a CPU and on a GPU."""

    def __init__(self, lowest: float = 60.0, highest: float = 400.0):
        super().__init__()
        self.periodicity = PeriodicityDistance(1024, HOP, lowest, highest)
        self.spectrum = Spectrum(512, HOP)
        lags = torch.arange(self.periodicity.lags.start, self.periodicity.lags.stop)
        self.register_buffer("periods", lags.float(), persistent=False)
        self.register_buffer("handicap", OCTAVE * torch.log2(lags / lags[0])[:, None], persistent=False)

    @torch.no_grad()
    def forward(self, wav: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wav = wav.float()
        pulses, voiced = self.voices(wav)
        power, filters = self._filters(wav)
        gain = torch.sqrt(power * CODE_HOP / pulses.repeat_interleave(CODE_HOP // HOP, 1))
        place = torch.arange(-1, CODE_HOP, device=wav.device)
        periods = (pulses[..., None] * place).div(CODE_HOP, rounding_mode="floor")
        train = torch.diff(periods).float().reshape(len(wav), -1, HOP) * gain[..., None]
        made = torch.fft.irfft(torch.fft.rfft(train, 1024) * filters, 1024).transpose(1, 2)
        made = F.fold(made, (1, wav.shape[1] + 1024 - HOP), (1, 1024), stride=(1, HOP))[:, 0, 0, : wav.shape[1]]
        share = F.interpolate(voiced.float()[:, None], scale_factor=HOP, mode="linear")[:, 0]
        return share * made + (1 - share) * wav, share

    def voices(self, wav: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pulses of each unit, int64 [B, T], 1 or more, and whether each analysis is voiced, bool [B, 4 T]."""
        found, energy = self.periodicity.correlations(wav)
        power = energy[:, 0] / self.periodicity.spectrum.hann.square().sum()
        voiced = (found / (energy + 1e-4)).amax(1) > VOICED
        voiced &= power > QUIET**2
        weights = voiced.unsqueeze(1) + 1e-3
        of_units = F.avg_pool1d(found * weights, CODE_HOP // HOP)
        score = of_units / (F.avg_pool1d(energy * weights, CODE_HOP // HOP) + 1e-6) - self.handicap
        period = self.periods[score.argmax(1)]
        return torch.round(CODE_HOP / period).long().clamp(min=1), voiced

    def _filters(self, wav: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Power [B, 4 T] and minimum-phase responses of energy 1, complex64 [B, 4 T, 513]."""
        magnitudes = self.spectrum(wav).transpose(1, 2)
        squares = torch.fft.irfft(magnitudes.square(), dim=2)[..., 0]
        cepstrum = torch.fft.irfft(torch.log(magnitudes.clamp(min=1e-4)), dim=2)[..., :SMOOTH]
        cepstrum[..., 1:] *= 2
        filters = torch.exp(torch.fft.rfft(cepstrum, 1024))
        energy = torch.fft.irfft(filters.abs().square(), dim=2)[..., :1]
        return squares / self.spectrum.hann.square().sum(), filters / torch.sqrt(energy)
