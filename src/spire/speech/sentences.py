"""The generated text corpus: every sentence occurs once in the whole corpus, in each of the three languages.

So no test or dev sentence, nor its translation, is in any training text (speech, parallel or mono). Test and dev are
drawn first: they depend on the seed and their own sizes only, and stay the same when training sizes change.
"""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file
from spire.speech.grammar import LANGUAGES, TEMPLATES, Sentence, Template

# The share of a template's fillings that may be used: beyond it nothing would be left that was not seen in training.
LARGEST_SHARE = 0.5

# Draws in a row that may repeat before a template counts as used up. At half of its fillings used one draw in
# two repeats, so only a template that says the same thing in several ways in some language comes near this.
LONGEST_MISS = 1000


@dataclass(frozen=True)
class Sizes:
    """Sentences per part. `mono` counts lines over all languages, each a sentence of its own."""

    speech_test: int
    speech_dev: int
    speech_train: int
    parallel: int
    mono: int

    @property
    def total(self) -> int:
        return self.speech_test + self.speech_dev + self.speech_train + self.parallel + self.mono


class SentenceSource:
    """Draws sentences that are new in all three languages; templates are chosen by weight until they run short."""

    def __init__(self, templates: tuple[Template, ...] = TEMPLATES):
        self.templates = templates
        self._left = [int(template.size * LARGEST_SHARE) for template in templates]
        self._misses = [0] * len(templates)
        self._seen: set[tuple[str, str]] = set()

    @property
    def remaining(self) -> int:
        """How many sentences can still be drawn, at most."""
        return sum(self._left)

    def draw(self, rng: random.Random) -> Sentence:
        """A new sentence; UserError when every template has given its share."""
        while self.remaining:
            weights = [t.weight if left else 0.0 for t, left in zip(self.templates, self._left, strict=True)]
            which = rng.choices(range(len(weights)), weights)[0]
            sentence = self.templates[which].sentence(rng.randrange(self.templates[which].size))
            texts = {(language, getattr(sentence, language)) for language in LANGUAGES}
            if texts & self._seen:
                self._misses[which] += 1
                if self._misses[which] > LONGEST_MISS:
                    self._left[which] = 0
                continue
            self._misses[which] = 0
            self._seen |= texts
            self._left[which] -= 1
            return sentence
        raise UserError("the grammar has no sentence left", hint="ask for fewer sentences")


def generate(sizes: Sizes, seed: int, templates: tuple[Template, ...] = TEMPLATES) -> dict[str, list[dict[str, str]]]:
    """The corpus as {file stem: rows}: rows {"id", "en", "de", "fr"}, for "mono" {"lang", "text"}.

    The same sizes and seed give the same corpus everywhere. UserError: a negative size, or more than the grammar gives.
    """
    for name, size in vars(sizes).items():
        if size < 0:
            raise UserError(f"--{name.replace('_', '-')} {size}: a number of sentences cannot be negative")
    source = SentenceSource(templates)
    if sizes.total > source.remaining:
        raise UserError(
            f"{sizes.total} sentences asked for, but the grammar gives {source.remaining} that may be used",
            hint="lower --parallel, --mono or --speech-train",
        )
    corpus: dict[str, list[dict[str, str]]] = {}
    for part, letter in (("speech_test", "t"), ("speech_dev", "d"), ("speech_train", "s"), ("parallel", "p")):
        rng = random.Random(f"{seed} {part}")
        drawn = [source.draw(rng) for _ in range(getattr(sizes, part))]
        corpus[part] = [{"id": f"{letter}{i:05d}", **vars(sentence)} for i, sentence in enumerate(drawn)]
    rng = random.Random(f"{seed} mono")
    languages = itertools.cycle(LANGUAGES)
    corpus["mono"] = [
        {"lang": language, "text": getattr(source.draw(rng), language)}
        for language, _ in zip(languages, range(sizes.mono), strict=False)
    ]
    return corpus


def write_corpus(corpus: dict[str, list[dict[str, str]]], folder: Path) -> None:
    """One JSONL file a part in `folder`; each file appears whole or not at all."""
    for part, rows in corpus.items():
        with replaced_file(folder / f"{part}.jsonl") as partial:
            partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_sentences(path: Path) -> list[dict[str, str]]:
    """Rows of a speech or parallel file; UserError names file and line of a row that lacks "id", "en", "de" or "fr"."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError as e:
                raise UserError(f"{path}:{number}: not JSON: {e}", hint="make the file with data_sentences.py") from e
            missing = [k for k in ("id", *LANGUAGES) if not isinstance(row, dict) or not isinstance(row.get(k), str)]
            if missing:
                hint = "make the file with data_sentences.py"
                raise UserError(f"{path}:{number}: no {', '.join(missing)}", hint=hint)
            rows.append(row)
    return rows


def count_words(sentences: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Word types and mean words a sentence for each language, "?" not counted."""
    counts = {}
    for language in LANGUAGES:
        texts = [row[language].rstrip("?").split() for row in sentences]
        words = sum(map(len, texts))
        counts[language] = {
            "types": len({word for text in texts for word in text}),
            "words_per_sentence": round(words / max(len(texts), 1), 2),
        }
    return counts
