"""The training forward pass: documents laid end to end, no padding outside attention, optional bf16 matrix products.

Guarantees: a document's hidden states are those of `Llama.hidden` on it alone (float32: to rounding); documents never
see each other. Weights, activations, sums and the optimizer stay float32; with bfloat16 only the operands of matrix
products are rounded.

Why not padding or autocast: at d=192 on one core with AVX-512 bfloat16 products this trains 2.1 times as many real
tokens a CPU second as the same pass in float32 (12.2 k against 5.7 k, measured side by side on a busy machine).
Autocast gave 1.8 times on padded batches, before padding is counted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from spire.training.fused import GatedFeedForward, Linear
from spire.training.llama import Llama, rotary_tables


def bf16_is_fast() -> tuple[bool, str]:
    """Whether this CPU multiplies bfloat16 in hardware, and the reason in words (it goes into the training record)."""
    amx = torch.cpu._is_amx_tile_supported()
    avx = torch.cpu._is_avx512_bf16_supported()
    if amx or avx:
        return True, f"CPU has {'AMX' if amx else 'AVX-512'} bfloat16 products"
    return False, "CPU has no bfloat16 products"


class Layout:
    """Where each document lies and how documents are grouped for attention.

    `groups` holds (rows, length, slots): `slots` [tokens] int64 are the places of the group's tokens in a padded
    [rows * length] array; groups follow one another in token order and no document is shorter than half its group's
    longest.
    """

    def __init__(self, starts: list[int]):
        sizes = [b - a for a, b in zip(starts, starts[1:], strict=False)]
        self.groups: list[tuple[int, int, int, int, torch.Tensor]] = []
        i = 0
        while i < len(sizes):
            j = i
            while j < len(sizes) and 2 * sizes[j] >= sizes[i] >= sizes[j]:
                j += 1
            length = sizes[i]
            slots = torch.cat([torch.arange(n) + r * length for r, n in enumerate(sizes[i:j])])
            self.groups.append((starts[i], starts[j], j - i, length, slots))
            i = j


def packed_hidden(
    model: Llama,
    ids: torch.Tensor,
    positions: torch.Tensor,
    layout: Layout,
    dtype: torch.dtype,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Last hidden states [n, hidden] float32 for n tokens of documents laid end to end, longest first.

    Tokens after the last document are filler: they see nothing, and their states mean nothing. `wanted` (int64 indices)
    asks for those states only; the last layer then leaves out what no other token needs (a sixth of a step of
    instruction tuning, where four tokens of five carry no loss).
    """
    shape = model.shape
    heads, kv, d = shape.num_attention_heads, shape.kv_heads, shape.head_dim
    cos, sin = (t.unsqueeze(1) for t in rotary_tables(shape, positions))
    half = d // 2
    sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    x = F.embedding(ids, model.model.embed_tokens.weight)
    for number, layer in enumerate(model.model.layers, 1):
        a, m = layer.self_attn, layer.mlp
        h = layer.input_layernorm(x)
        # One product for q, k and v: fewer and larger products.
        qkv = Linear.apply(h, torch.cat((a.q_proj.weight, a.k_proj.weight, a.v_proj.weight)), dtype)
        qkv = qkv.view(-1, heads + 2 * kv, d)
        qk, v = qkv.split((heads + kv, kv), dim=1)
        qk = qk * cos + torch.cat((qk[..., half:], qk[..., :half]), dim=-1) * sin
        seen = _attend(torch.cat((qk, v), dim=1), layout, heads, kv)
        if wanted is not None and number == shape.num_hidden_layers:
            x, seen = x.index_select(0, wanted), seen.index_select(0, wanted)
        x = x + Linear.apply(seen, a.o_proj.weight, dtype)
        h = layer.post_attention_layernorm(x)
        x = x + GatedFeedForward.apply(h, m.gate_proj.weight, m.up_proj.weight, m.down_proj.weight, dtype)
    return model.model.norm(x)


def _attend(qkv: torch.Tensor, layout: Layout, heads: int, kv: int) -> torch.Tensor:
    """Causal attention inside each document. qkv [n, heads + 2 kv, head_dim] -> [n, heads * head_dim]."""
    width, d = qkv.shape[1], qkv.shape[2]
    outputs = []
    end = 0
    for start, end, rows, length, slots in layout.groups:
        padded = qkv.new_zeros(rows * length, width * d).index_copy(0, slots, qkv[start:end].reshape(end - start, -1))
        q, k, v = padded.view(rows, length, width, d).transpose(1, 2).split((heads, kv, kv), dim=1)
        if kv != heads:
            k = k.repeat_interleave(heads // kv, dim=1)
            v = v.repeat_interleave(heads // kv, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        outputs.append(out.transpose(1, 2).reshape(rows * length, heads * d).index_select(0, slots))
    if end < len(qkv):
        outputs.append(qkv.new_zeros(len(qkv) - end, heads * d))
    return torch.cat(outputs)
