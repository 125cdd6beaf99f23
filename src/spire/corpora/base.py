"""Text for the base model: parallel sentences in every direction between English and the others, and monolingual text.

Guarantees: the same files and seed give the same lines in the same order; sentences with an empty side are left out.
"""

from __future__ import annotations

import random
from pathlib import Path

from spire.corpora.pairs import one_line
from spire.corpora.prompts import BASE, LANGUAGES, fill, language
from spire.errors import UserError
from spire.textfiles import read_jsonl


def directions(row: dict) -> list[tuple[str, str]]:
    """(source, target) codes that a parallel row offers: English to each other language and back."""
    others = [code for code in LANGUAGES if code != "en" and isinstance(row.get(code), str) and row[code].strip()]
    if not isinstance(row.get("en"), str) or not row["en"].strip():
        return []
    return [pair for code in others for pair in (("en", code), (code, "en"))]


def chosen_directions(rows: list[dict], per_sentence: int, rng: random.Random) -> list[tuple[dict, str, str]]:
    """Every row with its directions, or with a random `per_sentence` of them (0: all)."""
    out = []
    for row in rows:
        offered = directions(row)
        if per_sentence:
            offered = rng.sample(offered, min(per_sentence, len(offered)))
        out += [(row, source, target) for source, target in offered]
    return out


def text_lines(
    parallel: list[dict], mono: list[dict], seed: int, per_sentence: int = 0, templates: dict[str, str] = BASE
) -> list[dict]:
    """Shuffled `{"text", "block"}` lines, block "parallel" or "mono"."""
    rng = random.Random(f"text:{seed}")
    lines = [
        {
            "text": fill(
                templates["parallel_text"],
                src_lang=language(source),
                tgt_lang=language(target),
                example=one_line(row[source]),
                translation=one_line(row[target]),
            ),
            "block": "parallel",
        }
        for row, source, target in chosen_directions(parallel, per_sentence, rng)
    ]
    lines += [
        {"text": one_line(row["text"]), "block": "mono"}
        for row in mono
        if isinstance(row.get("text"), str) and row["text"].strip()
    ]
    rng.shuffle(lines)
    return lines


def read_text(
    parallel: list[str | Path],
    mono: list[str | Path],
    seed: int,
    per_sentence: int = 0,
    templates: dict[str, str] = BASE,
) -> list[dict]:
    """`text_lines` of files. Raises UserError when they hold no usable sentence."""
    rows = [row for path in parallel for row in read_jsonl(path)]
    single = [row for path in mono for row in read_jsonl(path)]
    lines = text_lines(rows, single, seed, per_sentence, templates)
    if (parallel or mono) and not lines:
        raise UserError(
            f"no usable text in {' '.join(map(str, [*parallel, *mono]))}",
            hint='expected {"en": ..., "de": ...} lines for --parallel, {"lang": ..., "text": ...} for --mono',
        )
    return lines


def count_blocks(lines: list[dict]) -> dict[str, int]:
    """Lines of each block, in order of appearance by name."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line["block"]] = counts.get(line["block"], 0) + 1
    return dict(sorted(counts.items()))
