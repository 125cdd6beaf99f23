"""The study's own Llama beyond plain greedy decoding: sampling, stop strings and banned ids, without transformers.

Guarantees: an answer depends on its prompt, its seed, the settings and the model, not on the batch, its order or its
size: where rounding could decide between two tokens, the choice is made from logits computed for that prompt alone
(spire.decoding.choosing). Equal settings draw the tokens that the `transformers` backend draws on the same weights.
Plain greedy decoding stays in spire.decoding.greedy, whose answers the mini study records.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from spire.decoding.choosing import Chooser
from spire.decoding.greedy import Answer, _Cluster, _padded, _prefill
from spire.decoding.settings import Settings
from spire.errors import UserError
from spire.training.llama import KeyValueCache, Llama


class NativeDecoder:
    """`model` with the ids below `size`. Attribute `ended(ids)`: whether an answer's text ends with these ids."""

    def __init__(self, model: Llama, size: int):
        self.model, self.size = model, size
        self.ended: Callable[[tuple[int, ...]], bool] | None = None

    def answers(
        self,
        prompts: list[tuple[int, ...]],
        batch: list[_Cluster],
        settings: Settings,
        seeds: list[int] | None = None,
    ) -> dict[int, Answer]:
        """The answers of the batch's members by number. `seeds`: of each prompt, where it is not the settings' own."""
        members = [i for cluster in batch for i in cluster.members]
        chosen = [prompts[i] for i in members]
        own = None if seeds is None else [seeds[i] for i in members]
        choose = Chooser(settings, chosen, torch.float32, self.size, own)
        with torch.inference_mode():
            answers = self._tokens(chosen, self._read(prompts, batch), settings, choose)
        return dict(zip(members, answers, strict=True))

    def _read(self, prompts: list[tuple[int, ...]], batch: list[_Cluster]):
        """(last hidden states [rows, hidden], cache, known bool [rows, places], length int64 [rows]) of all prompts."""
        cache = KeyValueCache(len(self.model.model.layers))
        shared = [prompts[c.members[0]][: c.shared] for c in batch]
        known = torch.zeros(len(batch), 0, dtype=torch.bool)
        if any(shared):
            ids, known = _padded(shared)
            nothing = torch.zeros(len(ids), 0, dtype=torch.bool)
            _prefill(self.model, ids, known, nothing, nothing.sum(1), cache)
        owner = torch.tensor([k for k, c in enumerate(batch) for _ in c.members])
        if cache.length:
            cache.keep(owner)
        known = known[owner]
        ids, real = _padded([prompts[i][c.shared :] for c in batch for i in c.members])
        length = known.sum(1)
        state = _prefill(self.model, ids, real, known, length, cache)[:, -1]
        return state, cache, torch.cat((known, real), dim=1), length + real.sum(1)

    def _alone(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Logits [vocabulary] after `ids`, from one pass over this one sequence: always the same numbers."""
        return self.model.logits(self.model.hidden(torch.tensor([ids], dtype=torch.long))[:, -1])[0]

    def _tokens(self, prompts: list[tuple[int, ...]], read, s: Settings, choose: Chooser) -> list[Answer]:
        state, cache, known, length = read
        n = len(prompts)
        tokens: list[list[int]] = [[] for _ in range(n)]
        logprob, near, finished, steps = [0.0] * n, [0] * n, [False] * n, [0] * n
        rows = list(range(n))
        for step in range(s.max_new):
            choice = choose(self.model.logits(state), rows, step)
            chosen, gains, unsure = choice.token.tolist(), choice.gain.tolist(), choice.near.tolist()
            for k, row in enumerate(rows):
                if unsure[k]:
                    near[row] += 1
                    chosen[k], gains[k] = choose.settled(self._alone((*prompts[row], *tokens[row])), row, step)
                if math.isnan(gains[k]):
                    raise UserError("the model's logits are not numbers", hint="its weights are damaged")
                logprob[row] += gains[k]
                steps[row] += 1
                if chosen[k] in s.stop:
                    finished[row] = True
                else:
                    tokens[row].append(chosen[k])
                    finished[row] = self.ended is not None and self.ended(tuple(tokens[row]))
            going = [k for k, row in enumerate(rows) if not finished[row]]
            if not going or step + 1 == s.max_new:
                break
            if len(going) < len(rows):
                keep = torch.tensor(going)
                cache.keep(keep)
                rows, known, length = [rows[k] for k in going], known[keep], length[keep]
            token = torch.tensor([chosen[k] for k in going])
            known = torch.cat((known, known.new_ones(len(rows), 1)), dim=1)
            state = self.model.hidden(token[:, None], length[:, None], known[:, None, None, :], cache)[:, 0]
            length = length + 1
        return [Answer(tuple(tokens[i]), finished[i], logprob[i], steps[i], near[i]) for i in range(n)]
