"""The network of FCPE on a CPU: the same numbers as `fcpe.Network`, in a third of the time.

Frames are rows and channels columns throughout, so that every product and convolution runs on weights that oneDNN has
packed once, over a few hundred frames at a time that stay in the caches. Shapes follow from the length of the audio
alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from spire.units.hubert_parts import Norm, Product, rounded
from spiritlm.row_convolution import RowConvolution

TILE = 256  # frames


class CpuNetwork:
    """The salience of pitches by the weights of `network`, which are copied."""

    def __init__(self, network: nn.Module):
        with torch.inference_mode():
            first, second = network.first, network.second
            self.first, self.second = (RowConvolution(c.weight, c.bias, c.padding[0]) for c in (first, second))
            self.norm_first = network.norm_first
            self.layers = [_Layer(layer) for layer in network.layers]
            self.norm = Norm(network.norm, torch.float32)
            self.out = Product(network.out.weight, network.out.bias, torch.float32, TILE)

    @torch.inference_mode()
    def __call__(self, mel: torch.Tensor) -> torch.Tensor:
        """[1, mels, T] to [T, bins], 0 to 1."""
        count = mel.shape[2]
        rows = rounded(count)
        x = self.first(mel[0].t().contiguous())
        x = F.leaky_relu(self.norm_first(x.t()[None]))[0].t().contiguous()
        # Rows behind the last frame are there so that products have whole tiles; they are 0 wherever they are read.
        x = F.pad(self.second(x), (0, 0, 0, rows - count))
        for layer in self.layers:
            layer(x, count)
        return torch.sigmoid(torch.cat([self.out(self.norm(tile)) for tile in x.split(TILE)])[:count])


class _Layer:
    """Changes x [rows, channels] in place; `count` of the rows are frames."""

    def __init__(self, layer: nn.Module):
        self.before = Norm(layer.before, torch.float32)
        self.gate, self.project = (
            Product(conv.weight.detach()[:, :, 0], conv.bias, torch.float32, TILE)
            for conv in (layer.gate, layer.project)
        )
        deep = layer.depthwise
        self.reach = deep.padding[0]
        self.depthwise = RowConvolution(deep.weight, deep.bias, groups=deep.groups, then="swish")

    def __call__(self, x: torch.Tensor, count: int) -> None:
        rows = len(x)
        inner = x.new_zeros(rows + 2 * self.reach, self.depthwise.inputs)
        for start in range(0, rows, TILE):
            gated = F.glu(self.gate(self.before(x[start : start + TILE])), dim=1)
            inner[self.reach + start : self.reach + start + len(gated)] = gated
        inner[self.reach + count :] = 0
        for start in range(0, rows, TILE):
            tile = x[start : start + TILE]
            self.project.add_to(tile, self.depthwise(inner[start : start + len(tile) + 2 * self.reach]))
