"""One interface to everything that answers prompts: `native`, `transformers` and `vllm`.

    backend = open_backend("transformers", "spire_full/", dtype="bf16", device="cuda")
    settings = style_settings("chat", backend.vocabulary, max_new=256)          # spire.decoding.answers
    answers = backend.generate([backend.vocabulary.encode(text, bos=True) for text in prompts], settings)
    texts = [answer_text(answer, backend.vocabulary, settings.stop_text) for answer in answers]

Guarantees of `generate`: one answer per prompt, in order; equal prompts are answered once; ids outside the vocabulary
(padding rows of the matrices) are never chosen; a stopped run goes on where it was when it is given its work folder.
What each backend promises beyond that is said in its class.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from spire.decoding.answers import cut_at
from spire.decoding.greedy import Answer
from spire.decoding.settings import Settings
from spire.decoding.vocabulary import open_vocabulary
from spire.errors import UserError

NAMES = ("native", "transformers", "vllm")


@dataclass
class Throughput:
    """What was computed in this process (answers read from a work folder are not in it)."""

    prompts: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    def line(self) -> str:
        wall = max(self.wall, 1e-9)
        return (
            f"{self.prompts} different prompts, {self.prompt_tokens} prompt tokens, {self.new_tokens} new tokens in "
            f"{self.wall:.1f} s ({self.cpu:.1f} CPU s): {self.prompts / wall:.2f} prompts/s, "
            f"{self.new_tokens / wall:.1f} new tokens/s"
        )

    def record(self) -> dict[str, int | float]:
        """The same as numbers; seconds are rounded to thousandths."""
        times = {"wall_seconds": round(self.wall, 3), "cpu_seconds": round(self.cpu, 3)}
        return {"prompts": self.prompts, "prompt_tokens": self.prompt_tokens, "new_tokens": self.new_tokens} | times


@dataclass
class Backend(ABC):
    """A model that answers. Attributes: vocabulary (encode, decode, size, bos, eos), identity (scalars that belong
    into a record beside the settings), throughput."""

    vocabulary: object
    identity: dict[str, str | int] = field(default_factory=dict)
    throughput: Throughput = field(default_factory=Throughput)

    def generate(
        self,
        prompts: list[list[int]],
        settings: Settings,
        work=None,
        progress: Callable[[int, int], None] | None = None,
        seeds: list[int] | None = None,
    ) -> list[Answer]:
        """One Answer per prompt (ids), in order. `work`: a spire.decoding.work.Work that knows earlier answers and
        takes new ones; `progress(done, of)` is called after every batch. `seeds`: of sampling, one for each prompt in
        place of the settings' own (not together with `work`, which knows prompts only).

        UserError for an empty prompt, one that begins with two `<s>`, and one that leaves no room for an answer.
        """
        self._check(prompts, settings)
        if seeds is not None:
            return self._seeded(prompts, settings, seeds, work, progress)
        unique = sorted({tuple(p) for p in prompts})
        known: dict[int, Answer] = {}
        if work is not None:
            known = {i: a for i, p in enumerate(unique) if (a := work.get(p)) is not None}
        for batch in self.plan(unique, settings):
            members = self.members(batch)
            if all(i in known for i in members):
                continue
            wall, cpu = time.monotonic(), time.process_time()
            found = self.answer(unique, batch, settings)
            self._count(unique, found, time.monotonic() - wall, time.process_time() - cpu)
            known |= found
            if work is not None:
                work.put({unique[i]: a for i, a in found.items()})
            if progress is not None:
                progress(len(known), len(unique))
        at = {p: i for i, p in enumerate(unique)}
        return [known[at[tuple(p)]] for p in prompts]

    def _seeded(self, prompts, settings, seeds, work, progress) -> list[Answer]:
        """`generate` with a seed of each prompt's own; equal pairs of the two are answered once."""
        if work is not None or len(seeds) != len(prompts):
            raise UserError(f"{len(prompts)} prompts and {len(seeds)} seeds: one each, and no work folder")
        unique = sorted({(tuple(p), seed) for p, seed in zip(prompts, seeds, strict=True)})
        asked, own = [p for p, _ in unique], [seed for _, seed in unique]
        known: dict[int, Answer] = {}
        for batch in self.plan(asked, settings):
            wall, cpu = time.monotonic(), time.process_time()
            found = self.answer(asked, batch, settings, own)
            self._count(asked, found, time.monotonic() - wall, time.process_time() - cpu)
            known |= found
            if progress is not None:
                progress(len(known), len(unique))
        at = {pair: i for i, pair in enumerate(unique)}
        return [known[at[tuple(p), seed]] for p, seed in zip(prompts, seeds, strict=True)]

    @abstractmethod
    def plan(self, prompts: list[tuple[int, ...]], settings: Settings) -> list:
        """Batches over sorted, different prompts; of these prompts and the settings alone."""

    @staticmethod
    @abstractmethod
    def members(batch) -> list[int]:
        """The numbers of a batch's prompts."""

    @abstractmethod
    def answer(
        self, prompts: list[tuple[int, ...]], batch, settings: Settings, seeds: list[int] | None = None
    ) -> dict[int, Answer]:
        """The answers of one batch by number; `seeds` of all prompts, where they are not the settings' own."""

    def stopped(self, settings: Settings) -> Callable[[tuple[int, ...]], bool] | None:
        """Whether an answer's text holds a stop string; None without stop strings."""
        if not settings.stop_text:
            return None
        return lambda ids: cut_at(self.vocabulary.decode(list(ids)), settings.stop_text) is not None

    def settles(self, settings: Settings) -> bool:
        """Whether close decisions are made apart from the batch; where not, they are counted in the record."""
        return False

    @property
    def longest(self) -> int | None:
        """Places of the model; None: not limited."""
        return None

    def _check(self, prompts: list[list[int]], settings: Settings) -> None:
        bos = self.vocabulary.bos
        for i, p in enumerate(prompts):
            if not p:
                raise UserError(f"prompt {i} is empty", hint="every prompt begins with <s>")
            if list(p[:2]) == [bos, bos]:
                raise UserError(f"prompt {i} begins with <s> twice", hint="encode(text, bos=True) adds the only one")
            if self.longest is not None and len(p) + 1 > self.longest:
                raise UserError(
                    f"prompt {i} has {len(p)} tokens, the model has {self.longest} positions",
                    hint="cut the recording into shorter utterances, or leave this line empty",
                )

    def _count(self, prompts, found: dict[int, Answer], wall: float, cpu: float) -> None:
        t = self.throughput
        t.prompts += len(found)
        t.prompt_tokens += sum(len(prompts[i]) for i in found)
        t.new_tokens += sum(a.steps for a in found.values())
        t.wall += wall
        t.cpu += cpu


class NativeBackend(Backend):
    """Our own Llama in float32 on the CPU, greedy or sampling: starts without importing transformers. Plain greedy:
    rounding may decide between tokens closer than 1e-4, and such steps are counted. With sampling, stop strings or
    banned ids (spire.decoding.native) they are settled."""

    def __init__(self, folder: Path, rows: int):
        from spire.training.checkpoint import load_model
        from spire.training.cpu import keep_freed_memory

        keep_freed_memory()
        super().__init__(open_vocabulary(folder), {"precision": "fp32"})
        self.model, self.rows = load_model(folder), rows

    def _check(self, prompts: list[list[int]], settings: Settings) -> None:
        super()._check(prompts, settings)
        if settings.strategy == "beam":
            raise UserError("the native backend has no beam search", hint="--backend transformers")

    @staticmethod
    def _plain(settings: Settings) -> bool:
        return settings.strategy == "greedy" and not settings.stop_text and not settings.banned

    def settles(self, settings):
        return not self._plain(settings)

    def plan(self, prompts, settings):
        from spire.decoding.greedy import _batches, _cluster

        return list(_batches(_cluster(prompts, self.rows), prompts, self.rows))

    @staticmethod
    def members(batch) -> list[int]:
        return [i for cluster in batch for i in cluster.members]

    def answer(self, prompts, batch, settings, seeds=None):
        import torch

        from spire.decoding.greedy import _decode

        if not self._plain(settings):
            from spire.decoding.native import NativeDecoder

            decoder = NativeDecoder(self.model, self.vocabulary.size)
            decoder.ended = self.stopped(settings)
            return decoder.answers(prompts, batch, settings, seeds)
        stops = torch.tensor(sorted(settings.stop), dtype=torch.long)
        with torch.inference_mode():
            answers = _decode(self.model, prompts, batch, stops, settings.max_new, self.vocabulary.size)
        return dict(zip(self.members(batch), answers, strict=True))


def open_backend(
    name: str,
    model_folder: str | Path,
    *,
    dtype: str = "fp32",
    device: str = "auto",
    threads: int = 0,
    rows: int = 128,
    tokens: int = 0,
    tensor_parallel: int = 1,
    longest: int = 0,
) -> Backend:
    """A loaded backend.

    `dtype`: "fp32", "bf16" or "fp16" (native: fp32 only). `device`: "auto" (a GPU where there is one), "cpu" or
    "cuda". `threads`: of a CPU (0: as they are). `rows`, `tokens`: the largest batch, in prompts and in places of the
    key/value cache (0: what the memory allows). `tensor_parallel`: GPUs that share the model (vllm). `longest`: the
    most tokens of a prompt with its answer (vllm; 0: what the model has). UserError for an unknown name, a missing
    package or a model directory that cannot be read.
    """
    folder = Path(model_folder)
    if rows < 1 or tokens < 0:
        raise UserError(f"rows {rows} and tokens {tokens}: a batch has at least one prompt")
    if name == "native":
        if dtype != "fp32" or device not in ("auto", "cpu"):
            raise UserError("the native backend computes in fp32 on the CPU", hint="--backend transformers")
        _threads(threads)
        return NativeBackend(folder, rows)
    if name == "transformers":
        from spire.decoding.hf_backend import TransformersBackend

        _threads(threads)
        return TransformersBackend(folder, dtype, device, rows, tokens)
    if name == "vllm":
        from spire.decoding.vllm_backend import VllmBackend

        return VllmBackend(folder, dtype, rows, tensor_parallel, longest)
    raise UserError(f"unknown backend {name!r}", hint="backends: " + " ".join(NAMES))


def _threads(threads: int) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)
