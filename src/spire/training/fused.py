"""Pieces of a Llama step with gradients written by hand: matrix product, feed-forward block, output loss.

Guarantees: with `dtype` float32 values and gradients are those of the plain formulas to rounding; with bfloat16 only
operands of matrix products (and the inside of the feed-forward block) are rounded, everything handed on is float32.

Why by hand: autograd keeps and zero-fills float32 buffers for every split and every cast; on one CPU core these
passes over memory cost as much as the matrix products once those run in bfloat16.
"""

from __future__ import annotations

import torch


class Linear(torch.autograd.Function):
    """y = x W^T. x [n, in] float32, W [out, in] float32 -> [n, out] float32."""

    @staticmethod
    def forward(ctx, x, weight, dtype):
        x, weight = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, weight)
        return (x @ weight.t()).float()

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.to(x.dtype)
        return (grad @ weight).float(), (grad.t() @ x).float(), None


class GatedFeedForward(torch.autograd.Function):
    """y = (silu(x G^T) * (x U^T)) D^T. x [n, d], G and U [f, d], D [d, f], all float32 -> [n, d] float32."""

    @staticmethod
    def forward(ctx, x, gate, up, down, dtype):
        x, down = x.to(dtype), down.to(dtype)
        both = torch.cat((gate.to(dtype), up.to(dtype)))
        inner = x @ both.t()
        g, u = inner.chunk(2, dim=1)
        act = torch.sigmoid(g).mul_(g).mul_(u)
        ctx.save_for_backward(x, both, down, inner, act)
        return (act @ down.t()).float()

    @staticmethod
    def backward(ctx, grad):
        x, both, down, inner, act = ctx.saved_tensors
        g, u = inner.chunk(2, dim=1)
        grad = grad.to(x.dtype)
        d_down = grad.t() @ act
        d_act = grad @ down
        sig = torch.sigmoid(g)
        silu = sig * g
        d_inner = torch.empty_like(inner)
        d_gate, d_up = d_inner.chunk(2, dim=1)
        torch.mul(d_act, silu, out=d_up)
        # silu'(g) = sig + silu (1 - sig)
        slope = silu.addcmul_(silu, sig, value=-1).add_(sig)
        torch.mul(d_act.mul_(u), slope, out=d_gate)
        d_both = (d_inner.t() @ x).float()
        f = both.shape[0] // 2
        return (d_inner @ both).float(), d_both[:f], d_both[f:], d_down.float(), None


class OutputLoss(torch.autograd.Function):
    """Weighted cross-entropy of the output matrix, sum_i w_i * -log p_i, and every -log p_i for the log.

    h [n, d], W [V, d], targets [n] int64, weights [n] float32 -> (scalar, [n] without gradient). The gradient is made
    on the way forward, so the [n, V] probabilities are written once and never kept.
    """

    @staticmethod
    def forward(ctx, h, weight, targets, weights, dtype):
        h, weight = h.to(dtype), weight.to(dtype)
        p = (h @ weight.t()).float()
        rows = torch.arange(len(targets), device=p.device)
        p -= p.amax(dim=1, keepdim=True)
        picked = p[rows, targets]
        total = p.exp_().sum(dim=1)
        nll = total.log() - picked
        p *= (weights / total).unsqueeze(1)
        p[rows, targets] -= weights
        p = p.to(dtype)
        ctx.save_for_backward((p @ weight).float(), (p.t() @ h).float())
        ctx.mark_non_differentiable(nll)
        return (nll * weights).sum(), nll

    @staticmethod
    def backward(ctx, grad, _):
        d_h, d_weight = ctx.saved_tensors
        return d_h * grad, d_weight * grad, None, None, None
