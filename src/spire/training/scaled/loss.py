"""The output matrix and its loss in chunks: logits of a long row never exist all at once.

Guarantee: values and gradients are those of a weighted cross-entropy over all logits, to rounding; memory beside
the gradient of the matrix is that of `chunk` rows of logits.

At 37,056 ids the float32 logits of twelve rows of 4,096 tokens are 7.3 GB; a chunk of 4,096 is 0.6 GB.
"""

from __future__ import annotations

import torch


class ChunkedLoss(torch.autograd.Function):
    """sum_i w_i * -log p_i, and every -log p_i for the log.

    h [m, d], W [V, d] (of one type), targets [m] int64, weights [m] float32 -> (scalar float32, [m] float32 without
    gradient). Gradients are made on the way forward, summed over chunks in float32.
    """

    @staticmethod
    def forward(ctx, h, weight, targets, weights, chunk: int):
        d_h, d_weight = torch.empty_like(h), None
        losses = []
        for at in range(0, len(h), chunk):
            part, wanted, w = h[at : at + chunk], targets[at : at + chunk, None], weights[at : at + chunk, None]
            p = (part @ weight.t()).float()
            p -= p.amax(dim=1, keepdim=True)
            picked = p.gather(1, wanted)
            total = p.exp_().sum(dim=1, keepdim=True)
            losses.append((total.log() - picked).squeeze(1))
            p *= w / total
            p.scatter_(1, wanted, p.gather(1, wanted) - w)
            p = p.to(h.dtype)
            d_h[at : at + chunk] = p @ weight
            product = (p.t() @ part).float()
            d_weight = product if d_weight is None else d_weight.add_(product)
        nll = torch.cat(losses)
        ctx.save_for_backward(d_h, d_weight)
        ctx.kept = weight.dtype
        ctx.mark_non_differentiable(nll)
        return (nll * weights).sum(), nll

    @staticmethod
    def backward(ctx, grad, _):
        d_h, d_weight = ctx.saved_tensors
        return d_h * grad.to(d_h.dtype), (d_weight * grad).to(ctx.kept), None, None, None
