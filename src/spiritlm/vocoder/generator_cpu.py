"""The code HiFi-GAN on a CPU: the same samples as `generator.Generator`, faster.

Each stage is computed in tiles of positions that stay in the caches, with as much of their neighbours as its
convolutions reach. A transposed convolution is an ordinary one that gives the `rate` new positions of each old one as
channels side by side. Activations and residual sums are part of the convolutions (`row_convolution`).

Few shapes are ever computed, whatever the length of the input: oneDNN compiles a kernel for each, and the hundred of
them cost more than half a second of speech. Tiles have few sizes; what is shorter is filled up, and zero outside its
ends wherever a convolution reads it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from spiritlm.row_convolution import RowConvolution, Rows
from spiritlm.vocoder.generator import LAST_SLOPE, SLOPE, GeneratorShape

TILE_ELEMENTS = 1 << 18  # of the rows that pass through a stage at once: 1 MB in float32
OVERLAP = 45  # rows that a convolution computes twice for each tile, about
CALLS = 280_000  # what calling a stage's convolutions costs, in rows times channels^2 that they compute meanwhile
LEAST_ROWS = 2048  # that may do so however many channels they have: what is computed twice is less then
SIZES = tuple(quarter << power for power in range(4, 15) for quarter in (4, 5, 6, 7))  # of tiles: 64, 80, 96, ...


def fits(shape: GeneratorShape) -> bool:
    """Whether every upsampling gives `rate` positions for each one, no more: what is computed here."""
    pairs = zip(shape.upsample_rates, shape.upsample_kernel_sizes, strict=True)
    return all(kernel >= rate and (kernel - rate) % 2 == 0 for rate, kernel in pairs)


class CpuGenerator:
    """[1, model_in_dim, T] to [1, T * code_hop_size] float32 by the weights of `generator`, which are copied. In
    bfloat16 all is rounded but the last convolution, which makes samples in float32."""

    def __init__(self, generator: nn.Module, dtype: torch.dtype = torch.float32):
        self.dtype = dtype
        shape = generator.shape
        kernels = len(shape.resblock_kernel_sizes)
        with torch.inference_mode():
            pre, post = generator.conv_pre, generator.conv_post
            self.first = RowConvolution(pre.weight, pre.bias, pre.padding[0], slope=SLOPE, dtype=dtype)
            self.stages = [
                _Stage(up, generator.resblocks[i * kernels : (i + 1) * kernels], kernels if i else 1, dtype)
                for i, up in enumerate(generator.ups)
            ]
            self.last = RowConvolution(post.weight / kernels, post.bias, post.padding[0])

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x[0].t().to(self.dtype).contiguous()
        rows = _tiled(lambda tile, count: self.first(tile), rows, self.first.reach, self.first.outputs)
        for i, stage in enumerate(self.stages):
            rows = stage(rows, LAST_SLOPE if i == len(self.stages) - 1 else SLOPE)
        return torch.tanh(_tiled(lambda tile, count: self.last(tile), rows.float(), self.last.reach, 1)).t()


class _Stage:
    """Rows [T, C] to [T * rate, C / 2], both behind their activations. What comes in is `given` times too large; the
    results are sums over the residual blocks, not their mean: a leaky ReLU keeps factors."""

    def __init__(self, up: nn.ConvTranspose1d, blocks: nn.ModuleList, given: int, dtype: torch.dtype):
        self.rate, self.up = up.stride[0], _side_by_side(up, given, dtype)
        self.blocks = [
            [
                (
                    RowConvolution(one.weight, one.bias, dilation=one.dilation[0], slope=SLOPE, dtype=dtype),
                    RowConvolution(two.weight, two.bias, dtype=dtype),
                )
                for one, two in zip(block.convs1, block.convs2, strict=True)
            ]
            for block in blocks
        ]
        self.reaches = [sum(one.reach + two.reach for one, two in block) for block in self.blocks]

    def __call__(self, x: Rows, slope: float) -> Rows:
        wide = _tiled(lambda tile, count: self.up(tile), x, self.up.reach, self.up.outputs)
        x = wide.reshape(len(x) * self.rate, -1)
        total, channels = x.shape
        reach = max(self.reaches)
        size = _tile_rows(total, TILE_ELEMENTS // channels, OVERLAP + CALLS // channels**2)
        out = x.new_empty(total, channels)
        for start in range(0, total, size):
            before, after = max(0, reach - start), max(0, start + size + reach - total)
            tile = x[max(0, start - reach) : start + size + reach]
            if before or after:
                tile = F.pad(tile, (0, 0, before, after))
            stop = min(total, start + size)
            out[start:stop] = self._mixed(tile, reach, start, total, slope)[: stop - start]
        return out

    def _mixed(self, x: Rows, reach: int, start: int, total: int, slope: float) -> Rows:
        """The activated sum of the residual blocks for the rows of x but the first and last `reach`, the first of which
        is row `start` of `total`. Every convolution computes only the rows that the next ones need."""
        active = F.leaky_relu(x, SLOPE)
        mixed = None
        for block, margin in zip(self.blocks, self.reaches, strict=True):
            y = _inside(x, reach - margin)
            for i, (one, two) in enumerate(block):
                inner = one(F.leaky_relu(y, SLOPE) if i else _inside(active, reach - margin))
                margin -= one.reach
                _clear_outside(inner, start - margin, total)
                margin -= two.reach
                y = _inside(y, one.reach + two.reach).clone()
                two.add_to(y, inner)
                _clear_outside(y, start - margin, total)
            mixed = y if mixed is None else mixed.add_(y)
        return F.leaky_relu_(mixed, slope)


def _inside(x: Rows, margin: int) -> Rows:
    return x[margin : len(x) - margin]


def _clear_outside(x: Rows, first: int, total: int) -> None:
    """Zero where x, whose first row is number `first`, is outside the `total` rows: convolutions pad with that."""
    if first < 0:
        x[:-first] = 0
    if first + len(x) > total:
        x[total - first :] = 0


def _side_by_side(up: nn.ConvTranspose1d, given: int, dtype: torch.dtype) -> RowConvolution:
    """The transposed convolution as one from [T, C] to [T, rate * C'], whose rows read one after the other are its
    outputs: position t * rate + r sums input t + m times tap r + padding - m * rate."""
    weight, rate, padding = up.weight.detach(), up.stride[0], up.padding[0]
    inputs, outputs, kernel = weight.shape
    reach = max((kernel - 1 - padding) // rate, (rate - 1 + padding) // rate)
    wide = weight.new_zeros(rate, outputs, inputs, 2 * reach + 1)
    for r in range(rate):
        for m in range(-reach, reach + 1):
            tap = r + padding - m * rate
            if 0 <= tap < kernel:
                wide[r, :, :, m + reach] = weight[:, :, tap].t()
    return RowConvolution(wide.flatten(0, 1) / given, up.bias.repeat(rate), reach, dtype=dtype)


def _tiled(run: Callable[[Rows, int], Rows], x: Rows, reach: int, channels: int) -> Rows:
    """`run(tile, count)` over tiles of x [T, C], whose first `count` rows are within it, to [T, channels]."""
    total = len(x)
    most = max(LEAST_ROWS, TILE_ELEMENTS // max(channels, x.shape[1]))
    rows = 2 * reach + _tile_rows(total, most, 2 * reach)
    if total <= rows:
        return run(F.pad(x, (0, 0, 0, rows - total)), total)[:total]
    out, size = x.new_empty(total, channels), rows - 2 * reach
    for start in range(0, total, size):
        stop = min(total, start + size)
        # The outer tiles end where the input does, so that its ends are padded with zeros as in one piece.
        first = min(max(0, start - reach), total - rows)
        out[start:stop] = run(x[first : first + rows], rows)[start - first : stop - first]
    return out


def _tile_rows(total: int, most: int, more: int) -> int:
    """Rows of a tile, one of few numbers up to `most`, so that all tiles together cost the least when each costs as
    much as `more` rows besides; the larger of equal ones."""
    sizes = [size for size in SIZES if size <= most] or [SIZES[0]]
    return min(sizes, key=lambda size: ((size + more) * -(-total // size), -size))
