"""The discriminators of HiFi-GAN: waveforms folded by periods, and waveforms at halved rates (Kong et al. 2020).

Each takes samples [B, N] and gives (scores [B, S], features of every layer). Sizes are settings: the published ones are
`DiscriminatorShape()`; a few channels do on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

SLOPE = 0.1


@dataclass(frozen=True)
class DiscriminatorShape:
    """Channels after each convolution. `periods`: one discriminator each; its convolutions have kernel 5 and stride 3
    but the last, which has stride 1. `scales`: how many, each at half the rate of the one before; (channels, kernel,
    stride, groups) of their convolutions. The first scale is spectrally normalized, all else weight-normalized."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scales: int = 3
    scale_layers: tuple[tuple[int, int, int, int], ...] = (
        (128, 15, 1, 1),
        (128, 41, 2, 4),
        (256, 41, 2, 16),
        (512, 41, 4, 16),
        (1024, 41, 4, 16),
        (1024, 41, 1, 16),
        (1024, 5, 1, 1),
    )


class PeriodDiscriminator(nn.Module):
    """Samples laid in rows of `period`, convolutions down the columns, which are independent of each other: so columns
    are computed as items of a batch, about twice as fast on a CPU as convolutions with kernels (5, 1)."""

    def __init__(self, period: int, channels: tuple[int, ...]):
        super().__init__()
        self.period = period
        widths = (1, *channels)
        last = len(channels) - 1
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv1d(widths[i], widths[i + 1], 5, 3 if i < last else 1, padding=2))
            for i in range(len(channels))
        )
        self.post = weight_norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, wav: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x = F.pad(wav[:, None], (0, -wav.shape[1] % self.period), mode="reflect")
        x = x.unflatten(2, (-1, self.period)).transpose(2, 3).flatten(0, 2)[:, None]
        scores, features = _through(x, self.convs, self.post)
        return scores.unflatten(0, (len(wav), -1)).flatten(1), features


class ScaleDiscriminator(nn.Module):
    """The waveform at 1 / 2^`halvings` of its rate: strided convolutions with groups."""

    def __init__(self, halvings: int, layers: tuple[tuple[int, int, int, int], ...]):
        super().__init__()
        norm = weight_norm if halvings else spectral_norm
        self.halvings = halvings
        widths = (1, *(layer[0] for layer in layers))
        self.convs = nn.ModuleList(
            norm(nn.Conv1d(widths[i], channels, kernel, stride, padding=kernel // 2, groups=groups))
            for i, (channels, kernel, stride, groups) in enumerate(layers)
        )
        self.post = norm(nn.Conv1d(widths[-1], 1, 3, padding=1))

    def forward(self, wav: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x = wav[:, None]
        for _ in range(self.halvings):
            x = F.avg_pool1d(x, 4, 2, padding=2)
        return _through(x, self.convs, self.post)


def _through(x: torch.Tensor, convs: nn.ModuleList, post: nn.Module) -> tuple[torch.Tensor, list[torch.Tensor]]:
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), SLOPE)
        features.append(x)
    x = post(x)
    return x.flatten(1), [*features, x]


class Discriminators(nn.Module):
    """All of a shape; gives the list of their outputs."""

    def __init__(self, shape: DiscriminatorShape):
        super().__init__()
        self.parts = nn.ModuleList(PeriodDiscriminator(period, shape.period_channels) for period in shape.periods)
        self.parts.extend(ScaleDiscriminator(i, shape.scale_layers) for i in range(shape.scales))

    def forward(self, wav: torch.Tensor) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
        return [part(wav) for part in self.parts]
