"""AdamW on this process's shards of the parameters, with clipping by the norm over all of them.

Guarantee: the update is that of `torch.optim.AdamW` after `clip_grad_norm_`; matrices are decayed, vectors (norms) are
not, as in `spire.training.optimizer`. The arithmetic is torch's fused kernel; only the bookkeeping is ours, because
torch's optimizer objects handle sharded tensors one by one.
"""

from __future__ import annotations

import torch
from torch.optim.adamw import adamw

from spire.training.scaled.processes import Processes


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's rows of a sharded tensor; they share its memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class ShardedAdamW:
    """`parameters`: {name: parameter}, sharded by rows. Attributes: first, second ({name: moments of the local rows},
    float32), updates (int).
    """

    def __init__(
        self,
        parameters: dict[str, torch.nn.Parameter],
        processes: Processes,
        beta1: float,
        beta2: float,
        weight_decay: float,
        eps: float = 1e-8,
    ):
        self.parameters, self.processes = parameters, processes
        self.beta1, self.beta2, self.weight_decay, self.eps = beta1, beta2, weight_decay, eps
        self.first = {n: torch.zeros_like(local(p.detach())) for n, p in parameters.items()}
        self.second = {n: torch.zeros_like(t) for n, t in self.first.items()}
        self.updates = 0

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> float:
        """Update once, empty the gradients, and return their norm before clipping (no update when it is not finite)."""
        grads = {n: local(p.grad) for n, p in self.parameters.items() if p.grad is not None and local(p.grad).numel()}
        norms = torch._foreach_norm(list(grads.values())) if grads else []
        squares = [n.double() ** 2 for n in norms]
        device = self.processes.device
        total = torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64, device=device)
        norm = self.processes.total(total.reshape(1)).sqrt().item()
        if norm < float("inf"):
            if norm > clip and grads:
                torch._foreach_mul_(list(grads.values()), clip / (norm + 1e-6))
            self.updates += 1
            for decays in (True, False):
                names = [n for n in grads if (self.parameters[n].ndim > 1) == decays]
                if names:
                    self._update(names, grads, lr, self.weight_decay if decays else 0.0)
        for p in self.parameters.values():
            p.grad = None
        return norm

    def _update(self, names: list[str], grads: dict[str, torch.Tensor], lr: float, decay: float) -> None:
        values = [local(self.parameters[n].detach()) for n in names]
        # The kernel counts the step itself, so it is given the number before this update.
        steps = [torch.tensor(float(self.updates - 1), device=v.device) for v in values]
        adamw(
            values,
            [grads[n] for n in names],
            [self.first[n] for n in names],
            [self.second[n] for n in names],
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=lr,
            weight_decay=decay,
            eps=self.eps,
            maximize=False,
        )
