"""Causal attention within documents laid end to end, as an attention function of transformers.

Guarantee: a token sees the tokens of its own document up to itself and nothing else, in all three forms:

    varlen   torch's own FlashAttention over documents of any length; CUDA with 16-bit numbers
    flex     torch's FlexAttention with a block mask, compiled; CUDA with any numbers
    sdpa     one product a document; everywhere, and what the other two are tested against

transformers' own handling of packed rows reads the borders out of the positions at every layer; here they are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from spire.errors import UserError

NAME = "spire_documents"
KINDS = ("auto", "varlen", "flex", "sdpa")


@dataclass(frozen=True)
class Documents:
    """Where documents lie: starts [documents + 1] int32 on the device, the same as a list, the longest row, the form
    of attention, and for "flex" its block mask.
    """

    starts: torch.Tensor
    borders: list[int]
    longest: int
    form: str
    mask: object = None


def choose(form: str, device: torch.device, dtype: torch.dtype) -> str:
    """The form that "auto" stands for. Raises UserError for one that cannot run here."""
    short = dtype in (torch.bfloat16, torch.float16)
    if form == "auto":
        return "sdpa" if device.type != "cuda" else "varlen" if short else "flex"
    if form not in KINDS:
        raise UserError(f"unknown attention {form!r}", hint=f"choose one of {', '.join(KINDS)}")
    if form != "sdpa" and device.type != "cuda":
        raise UserError(f"--attention {form} needs a GPU", hint="--attention sdpa runs everywhere, auto chooses")
    if form == "varlen" and not short:
        raise UserError("--attention varlen computes in bf16 only", hint="--precision bf16, or --attention flex")
    return form


def documents(starts, longest: int, form: str, device: torch.device) -> Documents:
    """`starts` [documents + 1] int32 (numpy)."""
    borders = starts.tolist()
    tensor = torch.from_numpy(starts).to(device, non_blocking=True)
    mask = None
    if form == "flex":
        from torch.nn.attention.flex_attention import create_block_mask

        lengths = torch.diff(tensor).long()
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)

        def sees(_batch, _head, query, key):
            return (owner[query] == owner[key]) & (query >= key)

        mask = create_block_mask(sees, None, None, len(owner), len(owner), device=device)
    return Documents(tensor, borders, longest, form, mask)


def register() -> str:
    """Make the function known to transformers; returns its name for `config._attn_implementation`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME


# A layer that is compiled stops here and goes on after it: the borders of every batch would have it compiled anew.
@torch.compiler.disable(recursive=False)
def attend(_module, query, key, value, _mask, documents: Documents = None, scaling: float | None = None, **_unused):
    """query [1, heads, n, head_dim], key and value [1, kv_heads, n, head_dim] -> ([1, n, heads, head_dim], None)."""
    shared = key.shape[1] != query.shape[1]
    if documents.form == "varlen":
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
        at, n = documents.starts, documents.longest
        out = varlen_attn(q, k, v, at, at, n, n, scale=scaling, window_size=(-1, 0), enable_gqa=shared)
        return out.unsqueeze(0), None
    if documents.form == "flex":
        out = _flex()(query, key, value, block_mask=documents.mask, scale=scaling, enable_gqa=shared)
        return out.transpose(1, 2), None
    parts = []
    for start, end in zip(documents.borders, documents.borders[1:], strict=False):
        span = (query[:, :, start:end], key[:, :, start:end], value[:, :, start:end])
        parts.append(F.scaled_dot_product_attention(*span, is_causal=True, scale=scaling, enable_gqa=shared))
    return torch.cat(parts, dim=2).transpose(1, 2), None


_compiled: list = []


def _flex():
    if not _compiled:
        from torch.nn.attention.flex_attention import flex_attention

        _compiled.append(torch.compile(flex_attention, dynamic=False))
    return _compiled[0]
