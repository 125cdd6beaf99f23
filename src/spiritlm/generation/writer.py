"""A language model that continues prompts of text and units: what the evaluations and the continuations write with.

    writer = Writer("model/", backend="native")
    [written] = writer.write(["[Text]the teacher played"], OutputModality.TEXT, max_new=20)
    written.text, written.finished

Guarantees: a continuation depends on its prompt, the settings and the model, not on what is written beside it (with
vllm rounding may decide between close tokens). Ids that the modality forbids and padding rows are never chosen; `</s>`
always may be (spiritlm 7). A stopped run goes on where it was when it is given its work folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spire.decoding.answers import cut_at
from spire.decoding.backends import open_backend
from spire.decoding.greedy import Answer
from spire.decoding.hf_backend import read_config
from spire.decoding.jobs import model_digest
from spire.decoding.settings import Settings
from spire.decoding.work import Work
from spire.errors import UserError
from spire.progress import Progress
from spiritlm.model.content import OutputModality
from spiritlm.model.vocabulary import UnitIds, banned_ids


@dataclass(frozen=True)
class Written:
    """What was written behind a prompt, white space at both ends taken off; tokens chosen; whether it ended by itself
    (a limit cut it off otherwise)."""

    text: str
    tokens: int
    finished: bool


class Writer:
    """A model folder behind one of `spire.decoding.backends`. Attributes: ids (`UnitIds`), rows (of the matrices),
    longest (positions of the model, None where it does not say), identity (scalars for records).

    `max_length`: the most ids of a prompt with its continuation, 0 for what the model has. UserError: the vocabulary
    is not SpiRit-LM's; what `open_backend` raises.
    """

    def __init__(
        self,
        folder: str | Path,
        backend: str = "native",
        dtype: str = "fp32",
        device: str = "auto",
        rows: int = 64,
        threads: int = 0,
        tensor_parallel: int = 1,
        max_length: int = 0,
    ):
        config = read_config(Path(folder))
        if (Path(folder) / "pytorch_model.bin").is_file() and not any(Path(folder).glob("*.safetensors")):
            hint = f"python scripts/spiritlm_safe_model.py --model {folder} --out ... makes a copy that has"
            raise UserError(f"{folder}: its weights are not in safetensors", hint)
        positions = config.get("max_position_embeddings")
        longest = max_length if backend == "vllm" else 0
        self.backend = open_backend(
            backend,
            folder,
            dtype=dtype,
            device=device,
            rows=rows,
            threads=threads,
            tensor_parallel=tensor_parallel,
            longest=longest,
        )
        self.folder, self.vocabulary = Path(folder), self.backend.vocabulary
        named = {self.vocabulary.piece(i): i for i in range(self.vocabulary.size)}
        self.ids = UnitIds.from_vocabulary(named, str(folder))
        self.rows = config.get("vocab_size", self.ids.size)
        self.longest = min((n for n in (positions, max_length) if n), default=None)
        self.identity = dict(self.backend.identity)
        self._unknown = named.get("<unk>")

    @cached_property
    def weights(self) -> str:
        """The digest of the model's weights, read once."""
        return model_digest(self.folder)

    def encode(self, prompt: str) -> list[int]:
        """The ids of a prompt behind one `<s>`."""
        return self.vocabulary.encode(prompt, bos=True)

    def fits(self, prompt: str, max_new: int) -> bool:
        """Whether the model has room for the prompt and a continuation of full length."""
        return self.longest is None or len(self.encode(prompt)) + max_new <= self.longest

    def settings(self, modality: OutputModality, markers_end: bool = False, **how) -> Settings:
        """How to continue; `how`: fields of `Settings`. `markers_end`: a change to the other modality, or a new turn
        of the same, ends the continuation as `</s>` does."""
        ends = {self.vocabulary.eos} | ({self.ids.text, self.ids.speech} if markers_end else set())
        return Settings(stop=frozenset(ends), banned=banned_ids(modality, self.ids, self.rows, tuple(ends)), **how)

    def write(
        self,
        prompts: Sequence[str | None],
        modality: OutputModality,
        markers_end: bool = False,
        work: str | Path | None = None,
        what: str = "write",
        **how,
    ) -> list[Written]:
        """One continuation a prompt, in order; of None an empty one that is not finished. `how`: fields of Settings.

        UserError: a prompt that the model has no room for (`fits` tells).
        """
        settings = self.settings(modality, markers_end, **how)
        for i, prompt in enumerate(prompts):
            if prompt is not None and not self.fits(prompt, 1):
                raise UserError(
                    f"prompt {i} has {len(self.encode(prompt))} tokens, the model has {self.longest} positions",
                    hint="give shorter prompts, or fewer examples before them",
                )
        ids = [self.encode(prompt) for prompt in prompts if prompt is not None]
        with Progress(what, len({tuple(i) for i in ids}), "prompts") as progress:
            answers = iter(self._answers(ids, settings, work, lambda done, of: progress.advance(done - progress.done)))
        return [Written("", 0, False) if p is None else self._written(next(answers), settings) for p in prompts]

    def _answers(self, ids: list[list[int]], settings: Settings, work: str | Path | None, progress) -> list[Answer]:
        if work is None:
            return self.backend.generate(ids, settings, None, progress)
        made_by = {**self.identity, "model": self.weights}
        earlier = [Path(d) / Path(work).name for d in os.environ.get("DUCTTAPE_PREVIOUS", "").splitlines() if d.strip()]
        with Work(work, settings, made_by, earlier) as journal:
            return self.backend.generate(ids, settings, journal, progress)

    def _written(self, answer: Answer, settings: Settings) -> Written:
        text = self.text(answer.ids)
        if settings.stop_text:
            before = cut_at(text, settings.stop_text)
            text = text if before is None else before
        return Written(text.strip(), answer.steps, answer.finished)

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text, units and markers among them as they are written in prompts, marks of the base left out."""
        marks = {self.vocabulary.bos, self.vocabulary.eos, self._unknown}
        return self.vocabulary.decode([i for i in ids if i not in marks], skip_special=False)
