"""What identifies an answer beside its prompt and its model: how tokens are chosen, and what ends an answer.

Guarantees: checked when made (UserError names the field); `identity` holds exactly what can change an answer, and no
more, so that two settings with equal identities give equal answers. Imports neither torch nor numpy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from spire.errors import UserError

STRATEGIES = ("greedy", "sampling", "beam")
# The published decoding stopped at these strings (spec: SpireLM 12 and 13.11): the first is a typing error for `</s>`,
# the third is a backslash and an n.
PUBLISHED_STOPS = ("<\\s>", "\n", "\\n", "<END>")


@dataclass(frozen=True)
class Settings:
    """How to decode.

    `max_new`: the most tokens of an answer, its stop token not counted as part of it. `strategy`: "greedy", "sampling"
    (`temperature`, then the `top_k` most likely tokens, 0 for all, then the smallest set of probability `top_p`) or
    "beam" (`beams` hypotheses, scores divided by length ** `length_penalty`, the stop token counted). `seed`: of
    sampling; the random numbers of an answer depend on it and on the prompt's ids, on nothing else. `stop`: ids that
    end an answer. `stop_text`: strings that end it too, wherever they appear in its text. `banned`: ids that are never
    chosen; probabilities are those of the others.
    """

    max_new: int = 256
    stop: frozenset[int] = frozenset()
    stop_text: tuple[str, ...] = ()
    strategy: str = "greedy"
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 1
    beams: int = 4
    length_penalty: float = 1.0
    banned: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", frozenset(int(i) for i in self.stop))
        object.__setattr__(self, "stop_text", tuple(self.stop_text))
        object.__setattr__(self, "banned", frozenset(int(i) for i in self.banned))
        wrong = None
        if self.strategy not in STRATEGIES:
            raise UserError(f"unknown strategy {self.strategy!r}", hint="strategies: " + " ".join(STRATEGIES))
        if self.max_new < 1:
            wrong = f"max_new {self.max_new}: an answer has at least one token"
        elif any(not text for text in self.stop_text):
            wrong = "an empty stop string would end every answer"
        elif not self.temperature > 0:
            wrong = f"temperature {self.temperature}: sampling needs one above 0; greedy is a strategy of its own"
        elif not 0 < self.top_p <= 1:
            wrong = f"top_p {self.top_p} is not in (0, 1]"
        elif self.top_k < 0:
            wrong = f"top_k {self.top_k} is negative; 0 stands for all tokens"
        elif self.strategy == "beam" and not 1 < self.beams <= 64:
            wrong = f"beams {self.beams}: from 2 to 64; one beam is greedy"
        if wrong:
            raise UserError(wrong)

    def identity(self) -> dict[str, str | int | float]:
        """Scalars by name, for records and signatures; stop ids are not among them (they follow from the style)."""
        of_strategy = {
            "greedy": (),
            "sampling": ("temperature", "top_p", "top_k", "seed"),
            "beam": ("beams", "length_penalty"),
        }[self.strategy]
        fields = {"strategy": self.strategy, "max_new_tokens": self.max_new}
        if self.stop_text:
            fields["stop_text"] = " ".join(repr(text) for text in self.stop_text)
        if self.banned:
            listed = ",".join(map(str, sorted(self.banned)))
            fields["banned"] = hashlib.sha256(listed.encode()).hexdigest()[:16]
        return fields | {name: getattr(self, name) for name in of_strategy}


def prompt_digest(prompt: list[int] | tuple[int, ...]) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of a prompt's ids in decimal, with a comma between them."""
    return hashlib.sha256(",".join(map(str, prompt)).encode()).hexdigest()[:32]


def prompt_seed(prompt: list[int] | tuple[int, ...], seed: int, step: int = 0) -> int:
    """The seed of one random choice, 0 .. 2**63 - 1: of prompt, seed and step alone."""
    digest = hashlib.sha256(f"{seed}:{step}:{prompt_digest(prompt)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
