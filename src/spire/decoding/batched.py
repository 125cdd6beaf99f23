"""Decoding with any causal language model of transformers, many prompts at once, on a CPU or a GPU.

Guarantees: an answer depends on its prompt, the settings and the model, not on the batch, its order or its size: where
rounding could decide between two tokens, the choice is made from logits computed for that prompt alone
(`near_ties` counts these; spire.decoding.choosing). With `beam` such cases are counted only.

Where it saves over one `generate` a prompt: prompts of like length run together, left-padded, with positions of their
own; a beginning that several prompts share is computed once; finished rows leave the batch; the cache grows in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spire.decoding.batches import Cluster, groups
from spire.decoding.beam import Search
from spire.decoding.cache import can_merge, merged, new_cache
from spire.decoding.choosing import MARGIN, Chooser
from spire.decoding.greedy import Answer
from spire.decoding.settings import Settings
from spire.errors import UserError

# Rows that are finished are computed on until they are this part of the batch: dropping one copies all the others.
_FINISHED_PART = 1 / 8
# Places of prompts that are read in one pass whatever their lengths, on a CPU and on a GPU: below, passes cost more
# than padding.
_READ_TOGETHER = (256, 8192)


@dataclass
class _State:
    """Rows that go on: `known` bool [rows, places in the cache] marks real ones, `length` int64 [rows] counts them."""

    cache: object
    known: torch.Tensor
    length: torch.Tensor

    def keep(self, rows: torch.Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.known, self.length = self.known[rows], self.length[rows]


class Decoder:
    """A model on its device, and the ids it may choose (`size`). `longest`: the most ids of a prompt with its answer.
    Attribute `ended(ids)`: whether an answer's text ends with these ids (stop strings).
    """

    def __init__(self, model, size: int, longest: int | None = None):
        self.model, self.size, self.longest = model, size, longest
        self.ended: Callable[[tuple[int, ...]], bool] | None = None
        self.device, self.dtype = model.device, model.dtype
        self.forwards = 0

    def answers(
        self,
        prompts: list[tuple[int, ...]],
        batch: list[Cluster],
        settings: Settings,
        seeds: list[int] | None = None,
    ) -> dict[int, Answer]:
        """The answers of the batch's members by number. `seeds`: of each prompt, where it is not the settings' own."""
        members = [i for c in batch for i in c.members]
        with torch.inference_mode():
            logits, state = self._prefill(prompts, batch, settings.max_new)
            chosen = [prompts[i] for i in members]
            own = None if seeds is None else [seeds[i] for i in members]
            choose = Chooser(settings, chosen, self.dtype, self.size, own)
            decode = self._beam if settings.strategy == "beam" else self._tokens
            answers = decode(chosen, logits, state, settings, choose)
        return dict(zip(members, answers, strict=True))

    # ---- the model

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, state: _State) -> torch.Tensor:
        """Logits [rows, vocabulary] after the last of `ids` [rows, new]; `state.known` covers them already."""
        self.forwards += 1
        out = self.model(
            input_ids=ids,
            attention_mask=state.known.long(),
            position_ids=positions,
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    def _extend(self, sequences: list[tuple[int, ...]], state: _State) -> torch.Tensor:
        """Logits after left-padded sequences that follow what each row knows."""
        longest = max(map(len, sequences))
        ids = torch.tensor([(0,) * (longest - len(s)) + s for s in sequences], dtype=torch.long, device=self.device)
        real = torch.tensor(
            [[False] * (longest - len(s)) + [True] * len(s) for s in sequences], dtype=torch.bool, device=self.device
        )
        positions = (state.length[:, None] + real.cumsum(1) - 1).clamp_min(0)
        state.known = torch.cat((state.known, real), dim=1)
        state.length = state.length + real.sum(1)
        return self._forward(ids, positions, state)

    def _prefill(
        self, prompts: list[tuple[int, ...]], batch: list[Cluster], max_new: int
    ) -> tuple[torch.Tensor, _State]:
        """Logits after every prompt of the batch, and the state of all of them.

        Prompts are read in groups of like length, which a padded batch would not have; their caches are put together.
        """
        apart = groups(prompts, batch, _READ_TOGETHER[self.device.type == "cuda"])
        first = self._read(prompts, apart[0])
        if len(apart) == 1:
            return first
        if not can_merge(first[1].cache):
            return self._read(prompts, batch)
        read = [first, *(self._read(prompts, group) for group in apart[1:])]
        width = max(state.known.shape[1] for _, state in read)
        known = [torch.nn.functional.pad(s.known, (width - s.known.shape[1], 0)) for _, s in read]
        cache = merged([s.cache for _, s in read], width, width + min(max_new, 256))
        state = _State(cache, torch.cat(known), torch.cat([s.length for _, s in read]))
        return torch.cat([logits for logits, _ in read]), state

    def _read(self, prompts: list[tuple[int, ...]], group: list[Cluster]) -> tuple[torch.Tensor, _State]:
        empty = torch.zeros(len(group), 0, dtype=torch.bool, device=self.device)
        state = _State(new_cache(self.model.config), empty, empty.sum(1))
        if any(c.shared for c in group):
            self._extend([prompts[c.members[0]][: c.shared] for c in group], state)
            owner = [k for k, c in enumerate(group) for _ in c.members]
            state.keep(torch.tensor(owner, device=self.device))
        return self._extend([prompts[i][c.shared :] for c in group for i in c.members], state), state

    def _next(self, tokens: torch.Tensor, state: _State) -> torch.Tensor:
        """Logits after one more token of every row."""
        positions = state.length[:, None]
        state.known = torch.cat((state.known, state.known.new_ones(len(tokens), 1)), dim=1)
        state.length = state.length + 1
        return self._forward(tokens[:, None], positions, state)

    def _check(self, logprob: float) -> None:
        if math.isnan(logprob):
            raise UserError(
                f"the model's logits are not numbers in {self.dtype}",
                hint="fp16 overflows in many models: --dtype bf16 or fp32; or the weights are damaged",
            )

    def _limit(self, prompt: tuple[int, ...], max_new: int) -> int:
        """The most ids of an answer, its stop token counted."""
        return max_new if self.longest is None else min(max_new, self.longest - len(prompt))

    def alone(self, ids: tuple[int, ...]) -> torch.Tensor:
        """Logits [vocabulary] after `ids`, from one pass over this one sequence: always the same numbers."""
        self.forwards += 1
        row = torch.tensor([ids], dtype=torch.long, device=self.device)
        return self.model(input_ids=row, use_cache=False, logits_to_keep=1).logits[0, -1]

    # ---- greedy and sampling

    def _tokens(
        self, prompts: list[tuple[int, ...]], logits: torch.Tensor, state: _State, s: Settings, choose: Chooser
    ) -> list[Answer]:
        n = len(prompts)
        tokens: list[list[int]] = [[] for _ in range(n)]
        logprob, near, finished = [0.0] * n, [0] * n, [False] * n
        limit = [self._limit(p, s.max_new) for p in prompts]
        rows = list(range(n))  # which prompt each row of the batch belongs to; those that ended may still be there
        for step in range(s.max_new):
            choice = choose(logits, rows, step)
            chosen, gains, unsure = choice.token.tolist(), choice.gain.tolist(), choice.near.tolist()
            for k, row in enumerate(rows):
                if finished[row] or step >= limit[row]:
                    continue
                if unsure[k]:
                    near[row] += 1
                    chosen[k], gains[k] = choose.settled(self.alone((*prompts[row], *tokens[row])), row, step)
                self._check(gains[k])
                logprob[row] += gains[k]
                if chosen[k] in s.stop:
                    finished[row] = True
                else:
                    tokens[row].append(chosen[k])
                    finished[row] = self.ended is not None and self.ended(tuple(tokens[row]))
            going = [k for k, row in enumerate(rows) if not finished[row] and step + 1 < limit[row]]
            if not going:
                break
            if len(going) <= (1 - _FINISHED_PART) * len(rows):
                state.keep(torch.tensor(going, device=self.device))
                rows, chosen = [rows[k] for k in going], [chosen[k] for k in going]
            logits = self._next(torch.tensor(chosen, device=self.device), state)
        # A stop string is part of the ids, a stop token is not.
        steps = [
            len(t) + (f and not (self.ended and self.ended(tuple(t)))) for t, f in zip(tokens, finished, strict=True)
        ]
        return [Answer(tuple(tokens[i]), finished[i], logprob[i], steps[i], near[i]) for i in range(n)]

    # ---- beam

    def _beam(
        self, prompts: list[tuple[int, ...]], logits: torch.Tensor, state: _State, s: Settings, choose: Chooser
    ) -> list[Answer]:
        ended = self.ended or (lambda ids: False)
        searches = [Search(s.beams, self._limit(p, s.max_new), s.length_penalty, s.stop, ended) for p in prompts]
        rows = [(k, 0) for k in range(len(prompts))]  # search and hypothesis of every row of the batch
        for _ in range(s.max_new):
            logp = choose.allowed(logits).log_softmax(1)
            best, ids = logp.topk(min(2 * s.beams, self.size), dim=1)
            found = [
                [(token, gain) for token, gain in zip(i, g, strict=True) if gain > -math.inf]
                for i, g in zip(ids.tolist(), best.tolist(), strict=True)
            ]
            margin = MARGIN[self.dtype] * max(1.0, float(logits.abs().max()))
            self._check(float(best[:, 0].sum()))
            candidates: dict[int, list] = {}
            first_row: dict[int, int] = {}
            for at, (k, _) in enumerate(rows):
                first_row.setdefault(k, at)
                candidates.setdefault(k, []).append(found[at])
            kept: list[int] = []
            rows, tokens = [], []
            for k, options in candidates.items():
                parents = searches[k].advance(options, margin)
                if searches[k].done:
                    continue
                for j, parent in enumerate(parents):
                    kept.append(first_row[k] + parent)
                    rows.append((k, j))
                    tokens.append(searches[k].running[j].ids[-1])
            if not rows:
                break
            state.keep(torch.tensor(kept, device=self.device))
            logits = self._next(torch.tensor(tokens, device=self.device), state)
        return [Answer(x.best.ids, x.best.finished, x.best.logprob, x.best.length, x.near_ties) for x in searches]
