"""AdamW over one flat buffer of all parameters, gradient clipping included.

Guarantee: the update is that of `torch.optim.AdamW` after `clip_grad_norm_` (to float32 rounding). Why not those: on
a small model their hundreds of little tensors cost more than the arithmetic, and constructing any torch optimizer
imports torch's compiler, 1.2 CPU seconds in every training process.
"""

from __future__ import annotations

import torch


class FlatAdamW:
    """Owns the storage of `parameters` (float32, CPU): each becomes a view into one buffer, its gradient into another.

    Matrices are decayed by `weight_decay`; vectors (norms) are not.
    """

    def __init__(
        self,
        parameters: list[torch.nn.Parameter],
        beta1: float = 0.9,
        beta2: float = 0.98,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        ordered = [p for p in parameters if p.ndim > 1] + [p for p in parameters if p.ndim <= 1]
        self.decayed = sum(p.numel() for p in ordered if p.ndim > 1)
        size = sum(p.numel() for p in ordered)
        self.values = torch.empty(size)
        self.grads = torch.zeros(size)
        self.first = torch.zeros(size)
        self.second = torch.zeros(size)
        at = 0
        for p in ordered:
            span = slice(at, at + p.numel())
            view = self.values[span].view_as(p)
            view.copy_(p.data)
            p.data = view
            p.grad = self.grads[span].view_as(p)
            at += p.numel()
        self.beta1, self.beta2, self.eps, self.weight_decay = beta1, beta2, eps, weight_decay
        self.steps = 0

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> float:
        """Update once, empty the gradients, and return their norm before clipping (an update is skipped when it is
        not finite).
        """
        norm = self.grads.norm().item()
        if not norm < float("inf"):
            return norm
        if norm > clip:
            self.grads *= clip / (norm + 1e-6)
        self.steps += 1
        if self.weight_decay:
            self.values[: self.decayed] *= 1 - lr * self.weight_decay
        self.first.lerp_(self.grads, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(self.grads, self.grads, value=1 - self.beta2)
        # The gradients are done with, so their buffer takes the denominator.
        torch.sqrt(self.second, out=self.grads)
        self.grads.mul_((1 - self.beta2**self.steps) ** -0.5).add_(self.eps)
        self.values.addcdiv_(self.first, self.grads, value=-lr / (1 - self.beta1**self.steps))
        self.grads.zero_()
        return norm
