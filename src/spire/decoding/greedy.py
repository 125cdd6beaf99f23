"""Greedy decoding of many prompts at once, with a key/value cache and shared prompt beginnings.

Guarantees: the answer to a prompt does not depend on the other prompts, their order or the batch size (up to float32
rounding; steps in which that could decide, a margin under 1e-4 between the two best tokens, are counted in
`near_ties`). Equal prompts are decoded once.

Where it saves: prompts that begin alike (the same utterance asked for three languages) have their common beginning
computed once; rows that are finished leave the batch; prompts of like length run together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from spire.errors import UserError
from spire.training.llama import KeyValueCache, Llama

NEAR_TIE = 1e-4
# A shared beginning pays when it is most of the prompt: the rest of each prompt is padded to a common length.
_SHARED_TOKENS, _SHARED_PART = 16, 0.6


@dataclass(frozen=True)
class Answer:
    """Token ids without the stop token; `finished` is False when the limit cut it off; `logprob` sums the natural
    log-probabilities of the ids and of the stop token, `steps` counts them."""

    ids: tuple[int, ...]
    finished: bool
    logprob: float
    steps: int
    near_ties: int


@dataclass
class _Cluster:
    """Prompts (indices) whose first `shared` ids are equal."""

    members: list[int]
    shared: int


def greedy(
    model: Llama,
    prompts: list[list[int]],
    stop: Iterable[int],
    max_new: int,
    vocabulary_size: int | None = None,
    rows: int = 128,
) -> list[Answer]:
    """One Answer per prompt, in order. `stop`: ids that end an answer; `vocabulary_size`: ids from there on are never
    chosen; `rows`: the largest batch. Raises UserError for an empty prompt."""
    if max_new < 1 or rows < 1:
        raise UserError(f"max_new {max_new} and rows {rows} must be at least 1")
    for i, p in enumerate(prompts):
        if not p:
            raise UserError(f"prompt {i} is empty", hint="every prompt begins with <s>")
    stops = torch.tensor(sorted(set(stop)), dtype=torch.long)
    unique = sorted({tuple(p) for p in prompts})
    answers: dict[tuple[int, ...], Answer] = {}
    with torch.inference_mode():
        for clusters in _batches(_cluster(unique, rows), unique, rows):
            members = [i for c in clusters for i in c.members]
            for i, answer in zip(
                members, _decode(model, unique, clusters, stops, max_new, vocabulary_size), strict=True
            ):
                answers[unique[i]] = answer
    return [answers[tuple(p)] for p in prompts]


def _cluster(prompts: list[tuple[int, ...]], rows: int) -> list[_Cluster]:
    """Group sorted prompts by common beginnings; every prompt keeps at least one id of its own."""
    clusters: list[_Cluster] = []
    for i, prompt in enumerate(prompts):
        if clusters and len(clusters[-1].members) < rows:
            last = clusters[-1]
            first = prompts[last.members[0]]
            common = _common(first, prompt, min(last.shared, len(prompt) - 1))
            longest = max(len(prompt), *(len(prompts[m]) for m in last.members))
            if common >= _SHARED_TOKENS and common >= _SHARED_PART * longest:
                last.members.append(i)
                last.shared = common
                continue
        clusters.append(_Cluster([i], len(prompt) - 1))
    return clusters


def _common(a: tuple[int, ...], b: tuple[int, ...], limit: int) -> int:
    n = 0
    while n < limit and a[n] == b[n]:
        n += 1
    return n


def _batches(clusters: list[_Cluster], prompts: list[tuple[int, ...]], rows: int) -> Iterable[list[_Cluster]]:
    """Clusters of like length, at most `rows` prompts together."""
    clusters = sorted(clusters, key=lambda c: (c.shared, prompts[c.members[0]]))
    batch: list[_Cluster] = []
    for cluster in clusters:
        if batch and sum(len(c.members) for c in batch) + len(cluster.members) > rows:
            yield batch
            batch = []
        batch.append(cluster)
    if batch:
        yield batch


def _padded(sequences: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded ids [rows, longest] and a boolean mask of the real ones."""
    longest = max(map(len, sequences))
    shape = len(sequences), longest
    ids = torch.tensor([(0,) * (longest - len(s)) + s for s in sequences], dtype=torch.long)
    real = torch.tensor([[False] * (longest - len(s)) + [True] * len(s) for s in sequences], dtype=torch.bool)
    return ids.view(shape), real.view(shape)


def _prefill(
    model: Llama, ids: torch.Tensor, real: torch.Tensor, known: torch.Tensor, offset: torch.Tensor, cache: KeyValueCache
) -> torch.Tensor:
    """Hidden states of left-padded `ids` that follow `known` [rows, cache.length] cached positions.

    `offset` [rows] is the number of real tokens before. Padding looks at itself, so that no softmax is empty; nothing
    looks at it.
    """
    new = ids.shape[1]
    causal = torch.ones(new, new, dtype=torch.bool).tril()
    within = causal & real[:, None, :] | torch.eye(new, dtype=torch.bool)
    before = known[:, None, :].expand(-1, new, -1)
    positions = (offset[:, None] + real.cumsum(1) - 1).clamp_min(0)
    return model.hidden(ids, positions, torch.cat((before, within), dim=2).unsqueeze(1), cache)


def _decode(
    model: Llama,
    prompts: list[tuple[int, ...]],
    clusters: list[_Cluster],
    stops: torch.Tensor,
    max_new: int,
    vocabulary_size: int | None,
) -> list[Answer]:
    cache = KeyValueCache(len(model.model.layers))
    shared = [prompts[c.members[0]][: c.shared] for c in clusters]
    known = torch.zeros(len(clusters), 0, dtype=torch.bool)
    if any(shared):
        ids, known = _padded(shared)
        nothing = torch.zeros(len(ids), 0, dtype=torch.bool)
        _prefill(model, ids, known, nothing, nothing.sum(1), cache)
    owner = torch.tensor([k for k, c in enumerate(clusters) for _ in c.members])
    if cache.length:
        cache.keep(owner)
    known = known[owner]
    ids, real = _padded([prompts[i][c.shared :] for c in clusters for i in c.members])
    length = known.sum(1)
    state = _prefill(model, ids, real, known, length, cache)[:, -1]
    known = torch.cat((known, real), dim=1)
    length = length + real.sum(1)

    n = len(owner)
    tokens: list[list[int]] = [[] for _ in range(n)]
    logprob, near, finished = [0.0] * n, [0] * n, [False] * n
    rows = torch.arange(n)
    for step in range(max_new):
        logits = model.logits(state)
        if vocabulary_size is not None:
            logits = logits[:, :vocabulary_size]
        best, choice = logits.topk(2, dim=1)
        # topk may return either of two equal values first; the lower id wins, as it does for argmax.
        token = torch.where(best[:, 0] == best[:, 1], choice.amin(1), choice[:, 0])
        gain = (best[:, 0] - logits.logsumexp(1)).tolist()
        close = (best[:, 0] - best[:, 1] < NEAR_TIE).tolist()
        ended = torch.isin(token, stops)
        for row, chosen, g, c, end in zip(rows.tolist(), token.tolist(), gain, close, ended.tolist(), strict=True):
            logprob[row] += g
            near[row] += c
            if end:
                finished[row] = True
            else:
                tokens[row].append(chosen)
        going = (~ended).nonzero().squeeze(1)
        if len(going) == 0 or step + 1 == max_new:
            break
        if len(going) < len(rows):
            cache.keep(going)
            rows, known, length, token = rows[going], known[going], length[going], token[going]
        known = torch.cat((known, known.new_ones(len(rows), 1)), dim=1)
        state = model.hidden(token[:, None], length[:, None], known[:, None, None, :], cache)[:, 0]
        length = length + 1
    return [Answer(tuple(tokens[i]), finished[i], logprob[i], len(tokens[i]) + finished[i], near[i]) for i in range(n)]
