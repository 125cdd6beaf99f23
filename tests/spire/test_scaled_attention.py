"""The forms of attention within documents agree: those for GPUs are run here through stand-ins of their kernels."""

import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

from spire.training.scaled import attention  # noqa: E402

STARTS = np.array([0, 3, 4, 11, 128], np.int32)


def tensors(kv_heads):
    draw = torch.Generator().manual_seed(3)
    q = torch.randn(1, 4, 128, 16, generator=draw)
    return q, *(torch.randn(1, kv_heads, 128, 16, generator=draw) for _ in range(2))


def attend(form, *qkv):
    where = attention.documents(STARTS, 128, form, torch.device("cpu"))
    out, weights = attention.attend(None, *qkv, None, documents=where, scaling=0.25)
    assert weights is None and out.shape == (1, 128, 4, 16)
    return out


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_token_sees_its_document_up_to_itself(kv_heads):
    q, k, v = tensors(kv_heads)
    owner = np.repeat(np.arange(len(STARTS) - 1), np.diff(STARTS))
    sees = torch.from_numpy((owner[:, None] == owner[None]) & np.tri(128, dtype=bool))
    k, v = (t.repeat_interleave(4 // kv_heads, 1) for t in (k, v))
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=sees, scale=0.25).transpose(1, 2)
    assert torch.allclose(attend("sdpa", *tensors(kv_heads)), wanted, atol=1e-6)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.filterwarnings("ignore")
def test_flex_sees_the_same(kv_heads, monkeypatch):
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(attention, "_flex", lambda: flex_attention)
    qkv = tensors(kv_heads)
    assert torch.allclose(attend("flex", *qkv), attend("sdpa", *qkv), atol=1e-5)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_varlen_is_asked_for_the_same(kv_heads, monkeypatch):
    from torch.nn.attention import varlen

    signature = inspect.signature(varlen.varlen_attn)

    def stand_in(*arguments, **named):
        """What its documentation says of these arguments, one document at a time."""
        given = signature.bind(*arguments, **named).arguments
        assert given["window_size"] == (-1, 0) and given["max_q"] == given["max_k"] >= max(np.diff(STARTS))
        assert given["cu_seq_q"].dtype == torch.int32 and given["cu_seq_q"] is given["cu_seq_k"]
        parts = []
        borders = given["cu_seq_q"].tolist()
        for a, b in zip(borders, borders[1:], strict=False):
            q, k, v = (given[n][a:b].transpose(0, 1)[None] for n in ("query", "key", "value"))
            parts.append(
                F.scaled_dot_product_attention(
                    q, k, v, is_causal=True, scale=given["scale"], enable_gqa=given["enable_gqa"]
                )
            )
        return torch.cat(parts, 2)[0].transpose(0, 1)

    monkeypatch.setattr(varlen, "varlen_attn", stand_in)
    qkv = tensors(kv_heads)
    assert torch.allclose(attend("varlen", *qkv), attend("sdpa", *qkv), atol=1e-6)


def test_what_auto_stands_for():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert attention.choose("auto", cpu, torch.bfloat16) == "sdpa"
    assert attention.choose("auto", cuda, torch.bfloat16) == "varlen"
    assert attention.choose("auto", cuda, torch.float32) == "flex"
