"""The code HiFi-GAN: embedded units [B, channels, T] to samples [B, T * hop], and the predictor of durations.

Parameters carry the names of the published state with its weight normalization multiplied out (spiritlm 6). A unit
takes `code_hop_size` samples. `GeneratorShape.spans` cuts long inputs into pieces that fit into memory, with as much of
their neighbours as the convolutions reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError

SLOPE, LAST_SLOPE = 0.1, 0.01
TILE = 500  # units computed at once: 20 s


@dataclass(frozen=True)
class GeneratorShape:
    """Sizes named as in config.json."""

    model_in_dim: int
    upsample_initial_channel: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    code_hop_size: int = 640

    @classmethod
    def from_config(cls, config: Mapping, where: str) -> GeneratorShape:
        """From config.json's content; UserError when sizes are missing or do not fit together."""
        hint = "fetch the vocoder's folder again"

        def frozen(value):
            return tuple(map(frozen, value)) if isinstance(value, list) else value

        known = {key: frozen(config[key]) for key in cls.__dataclass_fields__ if key in config}
        try:
            shape = cls(**known)
            kernels = len(shape.resblock_kernel_sizes) == len(shape.resblock_dilation_sizes)
            fits = len(shape.upsample_rates) == len(shape.upsample_kernel_sizes) and kernels
            hop = math.prod(shape.upsample_rates)
            whole = shape.upsample_initial_channel % 2 ** len(shape.upsample_rates) == 0
        except TypeError as e:
            raise UserError(f"{where}: is no configuration of a code HiFi-GAN: {e}", hint) from e
        if str(config.get("resblock", "1")) != "1":
            raise UserError(f"{where}: resblock {config['resblock']!r} is not supported", hint)
        if not fits or not whole or hop != shape.code_hop_size:
            raise UserError(f"{where}: its upsampling does not make {shape.code_hop_size} samples of a unit", hint)
        return shape

    @property
    def reach(self) -> int:
        """Units on each side that a sample may depend on."""
        reach = 3
        pairs = list(zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True))
        blocks = zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True)
        block = max(sum((d + 1) * (kernel - 1) // 2 for d in dilations) for kernel, dilations in blocks)
        for rate, kernel in reversed(pairs):
            reach = -(-(reach + block + kernel) // rate) + 1
        return reach + 3

    def spans(self, total: int, tile: int = TILE) -> Iterator[tuple[int, int, slice]]:
        """How `total` units are computed in pieces of `tile`: the units that a piece needs, first and last + 1, and its
        own samples among those made of them. The pieces together equal the whole, up to the rounding of sums in another
        order."""
        hop = self.code_hop_size
        for start in range(0, total, tile):
            first, last = max(0, start - self.reach), min(total, start + tile + self.reach)
            yield first, last, slice((start - first) * hop, (min(total, start + tile) - first) * hop)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=d * (kernel - 1) // 2, dilation=d) for d in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class Generator(nn.Module):
    def __init__(self, shape: GeneratorShape):
        super().__init__()
        self.shape = shape
        channels = shape.upsample_initial_channel
        self.conv_pre = nn.Conv1d(shape.model_in_dim, channels, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(shape.upsample_rates, shape.upsample_kernel_sizes, strict=True):
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, (kernel - rate) // 2))
            channels //= 2
            for size, dilations in zip(shape.resblock_kernel_sizes, shape.resblock_dilation_sizes, strict=True):
                self.resblocks.append(_ResidualBlock(channels, size, dilations))
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, model_in_dim, T] to [B, T * code_hop_size], -1 to 1."""
        kernels = len(self.shape.resblock_kernel_sizes)
        x = self.conv_pre(x)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            x = sum(block(x) for block in self.resblocks[i * kernels : (i + 1) * kernels]) / kernels
        # Samples may be made in float32 of what was computed in bfloat16.
        return torch.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE).to(self.conv_post.weight.dtype)))[:, 0]


class DurationPredictor(nn.Module):
    """Embedded units [B, T, dim] to the logarithm of frames + 1, [B, T]."""

    def __init__(self, config: Mapping):
        super().__init__()
        dim, inner = config["encoder_embed_dim"], config["var_pred_hidden_dim"]
        kernel = config["var_pred_kernel_size"]
        # The second padding is 1 in the published program, whatever the kernel.
        self.conv1 = nn.Sequential(nn.Conv1d(dim, inner, kernel, padding=(kernel - 1) // 2), nn.ReLU())
        self.ln1 = nn.LayerNorm(inner)
        self.conv2 = nn.Sequential(nn.Conv1d(inner, inner, kernel, padding=1), nn.ReLU())
        self.ln2 = nn.LayerNorm(inner)
        self.proj = nn.Linear(inner, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.ln1(self.conv1(x.transpose(1, 2)).transpose(1, 2))
        x = self.ln2(self.conv2(x.transpose(1, 2)).transpose(1, 2))
        return self.proj(x)[..., 0]


def durations(log_durations: torch.Tensor) -> torch.Tensor:
    """Frames of each unit, at least 1: exp(x) - 1, halves rounded to even."""
    return torch.clamp(torch.round(torch.exp(log_durations) - 1), min=1).long()
