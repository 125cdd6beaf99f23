"""What the vocoder is trained with: spectral distances, least-squares adversarial losses, feature matching.

All take waveforms float32 [B, N] at 16 kHz or lists of discriminator outputs and give 0-d float32 tensors, in float32
whatever the precision around them. Kong et al. 2020 (HiFi-GAN); the second spectral distance is that of Yamamoto et al.
2020 (multi-resolution STFT), which the released recipe does not have; nor has it the distances of periods and
waveforms, with which a small generator finds voices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from spiritlm.vocoder.mel import mel_filters

Outputs = Sequence[tuple[torch.Tensor, Sequence[torch.Tensor]]]  # of each discriminator: scores, features by layer


class Spectrum(nn.Module):
    """Waveforms [B, N] to magnitudes [B, window / 2 + 1, N // hop], Hann window as long as the transform."""

    def __init__(self, window: int, hop: int):
        super().__init__()
        self.window, self.hop = window, hop
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, wav: torch.Tensor) -> torch.Tensor:
        side = (self.window - self.hop) // 2
        padded = F.pad(wav[:, None], (side, side), mode="reflect")[:, 0]
        found = torch.stft(padded, self.window, self.hop, window=self.hann, center=False, return_complex=True)
        return torch.sqrt(found.real.square() + found.imag.square() + 1e-9)


class MelDistance(nn.Module):
    """Mean absolute difference of log-mel spectra [B, 80, N // hop] (natural logarithm); magnitudes below `floor`
    count as that much."""

    def __init__(self, window: int = 1024, hop: int = 256, bins: int = 80, floor: float = 1e-5):
        super().__init__()
        self.floor = floor
        self.spectrum = Spectrum(window, hop)
        self.register_buffer("filters", torch.from_numpy(mel_filters(bins, window)), persistent=False)

    def log_mel(self, wav: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.clamp(self.filters @ self.spectrum(wav), min=self.floor))

    def forward(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return F.l1_loss(self.log_mel(found.float()), self.log_mel(wanted.float()))


class SpectralDistance(nn.Module):
    """Mean over transforms of: spectral convergence |S - S'| / |S| plus mean absolute difference of ln S."""

    def __init__(self, windows: Sequence[int]):
        super().__init__()
        self.spectra = nn.ModuleList(Spectrum(window, window // 4) for window in windows)

    def forward(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=found.device)
        for spectrum in self.spectra:
            ours, theirs = spectrum(found.float()), spectrum(wanted.float())
            floor = 1e-3
            logs = F.l1_loss(torch.log(ours.clamp(min=floor)), torch.log(theirs.clamp(min=floor)))
            total = total + (theirs - ours).norm() / theirs.norm().clamp(min=1e-3) + logs
        return total / len(self.spectra)


class PeriodicityDistance(nn.Module):
    """Mean absolute difference of normalized autocorrelations at the lags of 50 to 400 Hz; windows of 64 ms.

    Like the spectra it does not see phases, but where they reward an envelope alone, it asks for the period: a small
    generator finds voices with it long before its discriminators teach it. Frames count by the root of their energy in
    the wanted speech."""

    def __init__(self, window: int = 1024, hop: int = 256, lowest: float = 50.0, highest: float = 400.0):
        super().__init__()
        self.spectrum = Spectrum(window, hop)
        self.lags = slice(int(16_000 / highest), int(16_000 / lowest) + 1)
        padded = torch.cat([self.spectrum.hann, torch.zeros(window)])
        of_window = torch.fft.irfft(torch.fft.rfft(padded).abs().square())[:window]
        self.register_buffer("bias", (of_window / of_window[0])[self.lags], persistent=False)

    def correlations(self, wav: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, N] to autocorrelations [B, lags, frames] and energies [B, 1, frames]; of a periodic sound the
        correlation at its period is the energy."""
        found = torch.fft.irfft(self.spectrum(wav).square(), dim=1)
        return found[:, self.lags] / self.bias[:, None], found[:, :1]

    def forward(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            theirs, energy = self.correlations(wanted.float())
            theirs, weights = theirs / (energy + 1e-4), torch.sqrt(energy)
        ours, own = self.correlations(found.float())
        # A frame that is far too quiet is no division by nothing.
        ours = ours / (own + 0.01 * energy + 1e-4)
        return ((ours - theirs).abs() * weights).mean() / weights.mean().clamp(min=1e-4)


class ShiftedDistance(nn.Module):
    """1 - the normalized correlation of waveforms, window by window, at the shift where it is highest.

    Units do not say where the pulses of a voice fall, so waveforms cannot be asked for; up to a shift of one period,
    which is found anew for each window and each update, they can. Both are differentiated in time first, or the lowest
    harmonics would be all that counts. Windows count by the root of their energy in the wanted speech. They overlap by
    three quarters, so that all places count the same: by less, and a pulse in the middle of each window is enough."""

    def __init__(self, window: int = 640, hop: int = 160, reach: int = 160):
        super().__init__()
        self.window, self.hop, self.reach = window, hop, reach
        self.size = 2 ** (window + 2 * reach - 1).bit_length()
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        found, wanted = (wav[:, 1:].float() - 0.9 * wav[:, :-1].float() for wav in (found, wanted))
        inside = found[:, self.reach : found.shape[1] - self.reach]
        ours = inside.unfold(1, self.window, self.hop) * self.hann
        theirs = wanted.unfold(1, self.window + 2 * self.reach, self.hop)
        with torch.no_grad():
            shift, energy = self._best(ours, theirs)
            index = shift[..., None] + torch.arange(self.window, device=found.device)
            target = torch.gather(theirs, 2, index) * self.hann
            weights = torch.sqrt(energy)
        norms = ours.square().sum(2) + 0.01 * energy + 1e-4
        same = (ours * target).sum(2) / torch.sqrt(norms * (energy + 1e-4))
        return ((1 - same) * weights).mean() / weights.mean().clamp(min=1e-4)

    def _best(self, ours: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows [B, W, window] within longer ones [B, W, window + 2 reach]: the shift of the highest normalized
        correlation, int64 [B, W], and the energy of the wanted window there."""
        spectra = torch.fft.rfft(theirs, self.size)
        weighted = torch.fft.rfft(ours * self.hann, self.size)
        squares = torch.fft.rfft(theirs.square(), self.size)
        window = torch.fft.rfft(self.hann.square(), self.size)
        products = torch.fft.irfft(spectra * weighted.conj(), self.size)[..., : 2 * self.reach + 1]
        energies = torch.fft.irfft(squares * window.conj(), self.size)[..., : 2 * self.reach + 1].clamp(min=0)
        shift = (products / torch.sqrt(energies + 1e-4)).argmax(2)
        return shift, torch.gather(energies, 2, shift[..., None])[..., 0]


class WaveformDistance(nn.Module):
    """1 - the normalized correlation of waveforms, window by window: the mean of that of the waveforms themselves, in
    which the lowest harmonics count, and that of their differences in time.

    For speech whose phase units determine (`spiritlm.vocoder.pulses`). Windows count by the root of their energy in the
    wanted speech, times the share of them that is voiced."""

    def __init__(self, window: int = 320, hop: int = 160):
        super().__init__()
        self.window, self.hop = window, hop
        self.register_buffer("hann", torch.hann_window(window), persistent=False)

    def forward(self, found: torch.Tensor, wanted: torch.Tensor, voiced: torch.Tensor) -> torch.Tensor:
        shares = voiced[:, 1:].unfold(1, self.window, self.hop).mean(2)
        found, wanted = found.float(), wanted.float()
        low = self._distance(found[:, 1:], wanted[:, 1:], shares)
        return (low + self._distance(*(wav[:, 1:] - 0.9 * wav[:, :-1] for wav in (found, wanted)), shares)) / 2

    def _distance(self, found: torch.Tensor, wanted: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        ours, theirs = (wav.unfold(1, self.window, self.hop) * self.hann for wav in (found, wanted))
        energy = theirs.square().sum(2)
        weights = torch.sqrt(energy) * shares
        norms = ours.square().sum(2) + 0.01 * energy + 1e-4
        same = (ours * theirs).sum(2) / torch.sqrt(norms * (energy + 1e-4))
        return ((1 - same) * weights).mean() / weights.mean().clamp(min=1e-4)


def discriminator_loss(real: Outputs, generated: Outputs) -> torch.Tensor:
    """Sum over discriminators of E[(1 - D(x))^2] + E[D(G)^2]."""
    return sum(
        (1 - ours.float()).square().mean() + theirs.float().square().mean()
        for (ours, _), (theirs, _) in zip(real, generated, strict=True)
    )


def adversarial_loss(generated: Outputs) -> torch.Tensor:
    """Sum over discriminators of E[(1 - D(G))^2]."""
    return sum((1 - scores.float()).square().mean() for scores, _ in generated)


def feature_distance(real: Outputs, generated: Outputs) -> torch.Tensor:
    """Sum over discriminators and layers of the mean absolute difference of features; the real ones carry no
    gradient."""
    return sum(
        F.l1_loss(theirs.float(), ours.detach().float())
        for (_, layers), (_, others) in zip(real, generated, strict=True)
        for ours, theirs in zip(layers, others, strict=True)
    )
