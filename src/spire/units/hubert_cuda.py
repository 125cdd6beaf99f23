"""HuBERT inference on a GPU: utterances packed into one matrix of fixed size, attention over each of them alone.

Guarantee: the numbers of an utterance follow from its own samples alone, as far as a product of fixed size rounds every
row alike wherever it stands, which the products of NVIDIA's libraries do (the tests check it where there is a GPU).
Convolutions run utterance by utterance; the transformer's products always have `rows` rows, those behind the last
utterance are left over: 1 % of them on average when utterances last 11 s.

Attention of bfloat16 on a GPU is FlashAttention over the packed utterances; elsewhere it goes utterance by utterance.
The residual stream, layer norms and labels are float32. Every function here also runs on a CPU, for the tests.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from spire.units.assign import Assigner
from spire.units.hubert import Hubert
from spire.units.hubert_parts import Embedding, Norm, Product, joined_projections, layers_of

PACK_ROWS = 32_768  # frames in a matrix: 11 minutes of audio, a few GB of activations for a large model


class PackedHubert:
    """The layers that `model` has, in `dtype` on `device`. Weights are copied; with `release`, `model` loses its
    layers."""

    def __init__(
        self, model: Hubert, device: torch.device, dtype: torch.dtype, rows: int = PACK_ROWS, release: bool = False
    ):
        self.shape, self.device, self.rows = model.shape, device, rows
        with torch.inference_mode():
            self.embedding = Embedding(model, dtype, device)
            heads = self.shape.num_attention_heads
            self.blocks = [_Block(layer, heads, dtype, device, rows) for layer in layers_of(model, release)]

    @torch.inference_mode()
    def _stream(self, wavs: list[np.ndarray]) -> tuple[torch.Tensor, list[int]]:
        """The residual stream [rows, d] float32 and the first row of each utterance, and the row behind the last."""
        frames = [self.shape.frames(len(wav)) for wav in wavs]
        bounds = [0, *np.cumsum(frames).tolist()]
        if bounds[-1] > self.rows:
            raise ValueError(f"{bounds[-1]} frames do not fit into {self.rows} rows")
        x = torch.zeros(self.rows, self.shape.hidden_size, device=self.device)
        for wav, start, end in zip(wavs, bounds[:-1], bounds[1:], strict=True):
            x[start:end] = self.embedding(torch.from_numpy(wav).to(self.device))[: end - start]
        for block in self.blocks:
            block(x, bounds)
        return x, bounds

    def features(self, wavs: list[np.ndarray]) -> list[np.ndarray]:
        """Normalized samples [N] float32, at least a frame of each and no more than `rows` together, to [T, d]."""
        x, bounds = self._stream(wavs)
        return np.split(x[: bounds[-1]].cpu().numpy(), bounds[1:-1])

    def labels(self, wavs: list[np.ndarray], assigner: Assigner) -> list[np.ndarray]:
        """The nearest centroids [T] int32 of `features`; only they leave the device."""
        x, bounds = self._stream(wavs)
        return np.split(assigner.on_device(x)[: bounds[-1]].cpu().numpy(), bounds[1:-1])

    def assigner(self, centroids: np.ndarray) -> Assigner:
        return Assigner(centroids, self.device)


class _Block:
    """One transformer layer; a call changes x [rows, d] float32 in place."""

    def __init__(self, module: torch.nn.Module, heads: int, dtype: torch.dtype, device: torch.device, rows: int):
        self.heads, self.dtype, self.pre_norm = heads, dtype, module.pre_norm
        attention, forward = module.attention, module.feed_forward
        self.qkv = Product(*joined_projections(attention, heads), dtype, rows, device)
        self.out = Product(attention.out_proj.weight, attention.out_proj.bias, dtype, rows, device)
        self.wide = Product(forward.intermediate_dense.weight, forward.intermediate_dense.bias, dtype, rows, device)
        self.narrow = Product(forward.output_dense.weight, forward.output_dense.bias, dtype, rows, device)
        norm_dtype = dtype if self.pre_norm else torch.float32
        norms = (module.layer_norm, module.final_layer_norm)
        self.norm, self.final_norm = (Norm(norm, norm_dtype, device) for norm in norms)

    def __call__(self, x: torch.Tensor, bounds: list[int]) -> None:
        rows, d = x.shape
        inner = self.norm(x) if self.pre_norm else x.to(self.dtype)
        q, k, v = self.qkv(inner).view(rows, 3, self.heads, d // self.heads).unbind(1)
        mixed = torch.zeros(rows, self.heads, d // self.heads, dtype=self.dtype, device=x.device)
        attend = _flash if x.is_cuda and self.dtype == torch.bfloat16 else _one_by_one
        attend(q, k, v, bounds, mixed)
        self.out.add_to(x, mixed.flatten(1))
        if not self.pre_norm:
            x.copy_(self.norm(x))
        inner = self.final_norm(x) if self.pre_norm else x.to(self.dtype)
        self.narrow.add_to(x, self.wide.gelu(inner))
        if not self.pre_norm:
            x.copy_(self.final_norm(x))


def _flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: list[int], out: torch.Tensor) -> None:
    """Attention of q, k, v [rows, heads, size] within each span of `bounds` to `out`; queries are scaled already."""
    from torch.nn.attention.varlen import varlen_attn

    starts = torch.tensor(bounds, dtype=torch.int32, device=q.device)
    longest = max(end - start for start, end in zip(bounds[:-1], bounds[1:], strict=True))
    total = bounds[-1]
    out[:total] = varlen_attn(q[:total], k[:total], v[:total], starts, starts, longest, longest, scale=1.0)


def _one_by_one(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: list[int], out: torch.Tensor) -> None:
    """The same by one call for each span."""
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        span = (part[start:end].transpose(0, 1)[None] for part in (q, k, v))
        out[start:end] = F.scaled_dot_product_attention(*span, scale=1.0)[0].transpose(0, 1)
