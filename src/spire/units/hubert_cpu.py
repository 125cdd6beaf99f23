"""HuBERT inference on a CPU: every utterance by itself, without padding, in tiles that stay in the caches.

Guarantee: the numbers of an utterance follow from its own samples alone, bit for bit. Every product, convolution and
softmax has a shape that depends on the utterance's length only, and is never shared between utterances. What a batch
would gain is that weights are read once for many frames; taking one utterance after the other through each layer gains
that too, for cores that share the way to memory (two cores were as fast without).

In bfloat16 the operands of products are rounded (their sums are float32); the residual stream, layer norms, softmax,
attention scores and the first convolution stay float32. That costs little time and keeps more labels than a model that
is bfloat16 throughout (docs/scale.md has the measurements). Only where the processor has matrix units for bfloat16
(AMX), beside which float32 products are many times slower, scores are rounded too.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from spire.units.assign import Assigner
from spire.units.hubert import Hubert
from spire.units.hubert_parts import GRAIN, Embedding, Norm, Product, joined_projections, layers_of, packs, rounded

PACK_ROWS = 2048  # frames that pass a layer one utterance after the other before the next layer's weights are read
TILE_ELEMENTS = 1 << 18  # of the residual stream that passes through a feed-forward block at once: 256 frames of 1024
SCORE_ELEMENTS = 1 << 19  # of one head's attention scores at once
LONE_HEADS = 1_200_000  # frames^2 x head size from which it pays to multiply heads one by one


class CpuHubert:
    """The layers that `model` has, in `dtype` (float32 or bfloat16). Weights are copied; with `release`, `model` loses
    its layers."""

    rows = PACK_ROWS

    def __init__(self, model: Hubert, dtype: torch.dtype = torch.float32, release: bool = False):
        self.shape = model.shape
        tile = max(GRAIN, TILE_ELEMENTS // self.shape.hidden_size // GRAIN * GRAIN)
        with torch.inference_mode():
            self.embedding = Embedding(model, dtype)
            heads = self.shape.num_attention_heads
            self.blocks = [_Block(layer, heads, dtype, tile) for layer in layers_of(model, release)]

    @torch.inference_mode()
    def features(self, wavs: list[np.ndarray]) -> list[np.ndarray]:
        """Normalized samples [N] float32, at least a frame of each, to the residual streams [T, d] float32."""
        frames = [self.shape.frames(len(wav)) for wav in wavs]
        streams = [self.embedding(torch.from_numpy(wav)) for wav in wavs]
        for block in self.blocks:
            for x, count in zip(streams, frames, strict=True):
                block.attend(x, count)
            for x in streams:
                block.feed_forward(x)
        return [x[:count].numpy() for x, count in zip(streams, frames, strict=True)]

    def labels(self, wavs: list[np.ndarray], assigner: Assigner) -> list[np.ndarray]:
        """The nearest centroids [T] int32 of `features`."""
        return [assigner(x) for x in self.features(wavs)]

    def assigner(self, centroids: np.ndarray) -> Assigner:
        return Assigner(centroids)


class _Block:
    """One transformer layer; `attend` and then `feed_forward` change x [rows, d] float32 in place."""

    def __init__(self, module: torch.nn.Module, heads: int, dtype: torch.dtype, tile: int):
        self.heads, self.dtype, self.tile, self.pre_norm = heads, dtype, tile, module.pre_norm
        self.score_dtype = dtype if _has_matrix_units() else torch.float32
        attention, forward = module.attention, module.feed_forward
        self.qkv = Product(*joined_projections(attention, heads), dtype, tile)
        self.out = Product(attention.out_proj.weight, attention.out_proj.bias, dtype, tile)
        self.wide = Product(forward.intermediate_dense.weight, forward.intermediate_dense.bias, dtype, tile)
        self.narrow = Product(forward.output_dense.weight, forward.output_dense.bias, dtype, tile)
        norm_dtype = dtype if self.pre_norm else torch.float32
        self.norm, self.final_norm = (Norm(n, norm_dtype) for n in (module.layer_norm, module.final_layer_norm))

    def attend(self, x: torch.Tensor, frames: int) -> None:
        """Rows from `frames` on are no keys; what becomes of them has no meaning."""
        rows, d = x.shape
        size = d // self.heads
        lone = packs("cpu") and size * rows * rows >= LONE_HEADS
        q, k = torch.empty(2, self.heads, rows, size, dtype=self.score_dtype if lone else torch.float32)
        v = torch.empty(self.heads, rows, size, dtype=self.dtype if lone else torch.float32)
        for start, end in _tiles(rows, self.tile):
            tile = self.norm(x[start:end]) if self.pre_norm else x[start:end].to(self.dtype)
            parts = self.qkv(tile).view(end - start, 3, self.heads, size).permute(1, 2, 0, 3)
            for target, part in zip((q, k, v), parts, strict=True):
                target[:, start:end] = part
        mixed = self._heads_one_by_one(q, k, v, frames) if lone else self._heads_together(q, k, v, frames)
        for start, end in _tiles(rows, self.tile):
            self.out.add_to(x[start:end], mixed[start:end])
            if not self.pre_norm:
                x[start:end] = self.norm(x[start:end])

    def _heads_together(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, frames: int) -> torch.Tensor:
        """Attention of q, k, v [heads, rows, size] float32 to [rows, heads * size] in `dtype`."""
        mixed = F.scaled_dot_product_attention(q[None], k[None, :, :frames], v[None, :, :frames], scale=1.0)
        return mixed[0].transpose(0, 1).flatten(1).to(self.dtype)

    def _heads_one_by_one(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, frames: int) -> torch.Tensor:
        """The same by oneDNN; v is in `dtype`."""
        heads, rows, size = q.shape
        multiply = torch.ops.mkldnn._linear_pointwise
        v[:, frames:] = 0
        v = v.transpose(1, 2).contiguous()
        mixed = torch.empty(rows, heads, size, dtype=self.dtype)
        block = max(GRAIN, SCORE_ELEMENTS // rows // GRAIN * GRAIN)
        for head in range(heads):
            for start, end in _tiles(rows, block):
                scores = multiply(q[head, start:end], k[head], None, "none", [], "")
                scores[:, frames:] = -torch.inf
                weights = torch.softmax(scores, dim=1).to(self.dtype)
                mixed[start:end, head] = multiply(weights, v[head], None, "none", [], "")
        return mixed.flatten(1)

    def feed_forward(self, x: torch.Tensor) -> None:
        for start, end in _tiles(len(x), self.tile):
            tile = x[start:end]
            inner = self.wide.gelu(self.final_norm(tile) if self.pre_norm else tile.to(self.dtype))
            self.narrow.add_to(tile, inner)
            if not self.pre_norm:
                tile.copy_(self.final_norm(tile))


def _has_matrix_units() -> bool:
    return torch.cpu._is_amx_tile_supported()


def _tiles(rows: int, most: int) -> list[tuple[int, int]]:
    """Bounds of about equal parts of at most `most` rows, at multiples of GRAIN; both numbers are such multiples."""
    size = rounded(-(-rows // -(-rows // most)))
    return [(start, min(rows, start + size)) for start in range(0, rows, size)]
