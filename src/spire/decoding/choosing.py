"""The next token of each row, chosen so that the other rows of the batch cannot decide it.

Batched products round differently from one batch to another. Where that could change a choice, because the two best
candidates are closer than MARGIN (relative to the best logit, at least 1), the choice is left open (`near`), and the
caller makes it from logits computed for that sequence alone. Everywhere else the choice is the same in any batch.

Sampling adds Gumbel noise to logits / temperature and takes the best: exactly the softmax's distribution, with a margin
as greedy choices have. The noise of a step is drawn from (prompt, seed, step).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from spire.decoding.settings import Settings, prompt_seed

# Largest differences seen between a batch and one sequence alone, in the same units: 1.2e-6 in float32, 1.2e-2 in
# bfloat16 (the mini study's model, a random one of 8 layers of 512). A wider margin costs more single passes.
MARGIN = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 2e-2}
# How far a probability mass may be off in the same units, for the border of top_p.
_MASS = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 2e-2}


@dataclass
class Choice:
    """token int64 [rows], gain float32 [rows] (natural log-probability of the token under the plain softmax), near bool
    [rows] (rounding could decide)."""

    token: torch.Tensor
    gain: torch.Tensor
    near: torch.Tensor


class Chooser:
    """Chooses for the rows of one batch; `prompts` are their ids, for the random numbers of sampling.

    `dtype`: in which the model computes; `size`: ids from there on are never chosen. `seeds`: of each prompt, where it
    is not the settings' own.
    """

    def __init__(
        self,
        settings: Settings,
        prompts: list[tuple[int, ...]],
        dtype: torch.dtype,
        size: int,
        seeds: Sequence[int] | None = None,
    ):
        self.settings, self.prompts, self.size = settings, prompts, size
        self.seeds = [settings.seed] * len(prompts) if seeds is None else seeds
        self.margin, self.mass = MARGIN[dtype], _MASS[dtype]
        self._never = torch.tensor(sorted(i for i in settings.banned if i < size), dtype=torch.long)

    def __call__(self, logits: torch.Tensor, rows: list[int], step: int) -> Choice:
        """`logits` [rows, vocabulary] of the rows with these numbers; `step` counts the tokens chosen before."""
        logits = self.allowed(logits)
        slack = self.margin * logits.amax(1, keepdim=True).abs().clamp_min(1)
        if self.settings.strategy == "greedy":
            score, sure = logits, None
        else:
            # Dividing by the temperature magnifies rounding errors as much.
            slack = slack / self.settings.temperature
            score, sure = self._noisy(logits / self.settings.temperature, slack, rows, step)
        best, choice = score.topk(min(2, self.size), dim=1)
        token, near = choice[:, 0], torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        if self.size > 1:
            # topk may return either of two equal values first; the lower id wins, as it does for argmax.
            token = torch.where(best[:, 0] == best[:, 1], choice.amin(1), token)
            near = best[:, 0] - best[:, 1] < slack[:, 0]
        if sure is not None:
            near = near | ~sure.gather(1, token[:, None])[:, 0]
            # Where rounding could take the winner out, or another in, the plain filter decides in the end.
        gain = logits.gather(1, token[:, None])[:, 0] - logits.logsumexp(1)
        return Choice(token, gain, near)

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` [rows, vocabulary] in float32 without padding rows, with -inf for what is banned."""
        logits = logits[:, : self.size].float()
        if len(self._never):
            self._never = self._never.to(logits.device)
            logits = logits.index_fill(1, self._never, float("-inf"))
        return logits

    def settled(self, logits: torch.Tensor, row: int, step: int) -> tuple[int, float]:
        """(token, gain) of one row from logits [vocabulary] that no other row had a part in."""
        logits = self.allowed(logits[None])
        score = logits
        if self.settings.strategy != "greedy":
            score, sure = self._noisy(logits / self.settings.temperature, None, [row], step)
            score = score.masked_fill(~sure, float("-inf"))
        token = int(score.argmax(1))
        return token, float(logits[0, token] - logits.logsumexp(1))

    def _noisy(self, logits: torch.Tensor, slack: torch.Tensor | None, rows: list[int], step: int):
        """(noisy scores, with those that top_k and top_p surely exclude at -inf; which are surely included).

        Without `slack` there is nothing unsure: both follow from the same set.
        """
        s = self.settings
        possible = torch.ones_like(logits, dtype=torch.bool)
        sure = possible.clone()
        off, mass = (slack, self.mass) if slack is not None else (0.0, 0.0)
        if 0 < s.top_k < self.size:
            border = logits.topk(s.top_k, dim=1).values[:, -1:]
            possible &= logits >= border - off
            sure &= logits >= border + off if slack is not None else logits >= border
        if s.top_p < 1:
            ordered, order = logits.masked_fill(~possible, float("-inf")).sort(dim=1, descending=True, stable=True)
            before = ordered.softmax(1).cumsum(1) - ordered.softmax(1)
            possible &= torch.zeros_like(possible).scatter(1, order, before < s.top_p + mass)
            sure &= torch.zeros_like(sure).scatter(1, order, before < s.top_p - mass)
        noise = torch.stack([self._gumbel(row, step) for row in rows]).to(logits.device)
        return (logits + noise).masked_fill(~possible, float("-inf")), sure

    def _gumbel(self, row: int, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(prompt_seed(self.prompts[row], self.seeds[row], step))
        uniform = torch.rand(self.size, generator=generator, dtype=torch.float64)
        return -(-uniform.clamp_min(1e-300).log()).clamp_min(1e-300).log().float()
