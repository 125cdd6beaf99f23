"""The code HiFi-GAN on a CPU: the same samples as `generator.Generator`, faster.

Each stage is computed in tiles of positions that stay in the caches, with as much of their neighbours as its
convolutions reach. A transposed convolution is an ordinary one that gives the `rate` new positions of each old one as
channels side by side. Activations and residual sums are part of the convolutions (`row_convolution`).

Few shapes are ever computed, whatever the length of the input: oneDNN compiles a kernel for each, and the hundred of
them cost more than half a second of speech. Tiles have one size; what is shorter is filled up, and zero behind its end
wherever a convolution reads it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from spiritlm.row_convolution import RowConvolution, Rows
from spiritlm.vocoder.generator import LAST_SLOPE, SLOPE, GeneratorShape

TILE_ELEMENTS = 1 << 17  # of the rows that pass through a stage at once: 512 kB in float32
LEAST_ROWS = 2048  # that may do so however many channels they have: what is computed twice is less then
SIZES = tuple(quarter << power for power in range(4, 15) for quarter in (4, 5, 6, 7))  # of tiles: 64, 80, 96, ...


def fits(shape: GeneratorShape) -> bool:
    """Whether every upsampling gives `rate` positions for each one, no more: what is computed here."""
    pairs = zip(shape.upsample_rates, shape.upsample_kernel_sizes, strict=True)
    return all(kernel >= rate and (kernel - rate) % 2 == 0 for rate, kernel in pairs)


class CpuGenerator:
    """[1, model_in_dim, T] to [1, T * code_hop_size] by the weights of `generator`, which are copied."""

    def __init__(self, generator: nn.Module):
        shape = generator.shape
        kernels = len(shape.resblock_kernel_sizes)
        with torch.inference_mode():
            pre, post = generator.conv_pre, generator.conv_post
            self.first = RowConvolution(pre.weight, pre.bias, pre.padding[0], slope=SLOPE)
            self.stages = [
                _Stage(up, generator.resblocks[i * kernels : (i + 1) * kernels]) for i, up in enumerate(generator.ups)
            ]
            self.last = RowConvolution(post.weight, post.bias, post.padding[0])

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x[0].t().contiguous()
        rows = _tiled(lambda tile, count: self.first(tile), rows, self.first.reach, self.first.outputs)
        for i, stage in enumerate(self.stages):
            rows = stage(rows, LAST_SLOPE if i == len(self.stages) - 1 else SLOPE)
        return torch.tanh(_tiled(lambda tile, count: self.last(tile), rows, self.last.reach, 1)).t()


class _Stage:
    """Rows [T, C] to [T * rate, C / 2], both behind their activations."""

    def __init__(self, up: nn.ConvTranspose1d, blocks: nn.ModuleList):
        self.rate, self.up = up.stride[0], _side_by_side(up)
        self.blocks = [
            [
                (
                    RowConvolution(one.weight, one.bias, one.padding[0], one.dilation[0], slope=SLOPE),
                    RowConvolution(two.weight, two.bias, two.padding[0]),
                )
                for one, two in zip(block.convs1, block.convs2, strict=True)
            ]
            for block in blocks
        ]
        self.reach = max(sum(one.reach + two.reach for one, two in block) for block in self.blocks)

    def __call__(self, x: Rows, slope: float) -> Rows:
        wide = _tiled(lambda tile, count: self.up(tile), x, self.up.reach, self.up.outputs)
        x = wide.reshape(len(x) * self.rate, -1)
        return _tiled(lambda tile, count: self._mixed(tile, count, slope), x, self.reach, x.shape[1])

    def _mixed(self, x: Rows, count: int, slope: float) -> Rows:
        """The activated mean of the residual blocks; rows from `count` on are behind the end."""
        active = F.leaky_relu(x, SLOPE)
        ready = torch.empty_like(x)
        total = None
        for block in self.blocks:
            y = x.clone()
            for i, (one, two) in enumerate(block):
                inner = one(torch._C._nn.leaky_relu(y, SLOPE, out=ready) if i else active)
                inner[count:] = 0
                two.add_to(y, inner)
                y[count:] = 0
            total = y if total is None else total.add_(y)
        return F.leaky_relu_(total.div_(len(self.blocks)), slope)


def _side_by_side(up: nn.ConvTranspose1d) -> RowConvolution:
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
    return RowConvolution(wide.flatten(0, 1), up.bias.repeat(rate), reach)


def _tiled(run: Callable[[Rows, int], Rows], x: Rows, reach: int, channels: int) -> Rows:
    """`run(tile, count)` over tiles of x [T, C], whose first `count` rows are within it, to [T, channels]."""
    total = len(x)
    rows = _tile_rows(total, reach, max(LEAST_ROWS, TILE_ELEMENTS // max(channels, x.shape[1])))
    if total <= rows:
        return run(F.pad(x, (0, 0, 0, rows - total)), total)[:total]
    out, size = x.new_empty(total, channels), rows - 2 * reach
    for start in range(0, total, size):
        stop = min(total, start + size)
        # The outer tiles end where the input does, so that its ends are padded with zeros as in one piece.
        first = min(max(0, start - reach), total - rows)
        out[start:stop] = run(x[first : first + rows], rows)[start - first : stop - first]
    return out


def _tile_rows(total: int, reach: int, most: int) -> int:
    """Rows of a tile, one of few numbers up to `most` (or what the reach needs), so that all tiles together have the
    fewest rows; the larger of equal ones."""
    most = max(most, 4 * reach)
    sizes = [size for size in SIZES if size <= most and size > 3 * reach] or [-(-most // SIZES[0]) * SIZES[0]]

    def rows_of_all(size: int) -> int:
        return size if total <= size else size * -(-total // (size - 2 * reach))

    return min(sizes, key=lambda size: (rows_of_all(size), -size))
