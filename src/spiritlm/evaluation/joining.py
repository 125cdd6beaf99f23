"""Scores that several processes computed, put together: every item once, all of one kind.

A folder of scores has a file for each test set (`spiritlm.evaluation.comprehension.write_scores`) and `scores.json`:
how they were computed, and which part of the pairs is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.textfiles import read_json, write_json
from spiritlm.evaluation.comprehension import Score, read_scores
from spiritlm.evaluation.items import TestSet

IDENTITY = "scores.json"


def write_identity(path: Path, identity: str, part: Shard, model: str) -> None:
    """Say beside the scores how they were computed; model: the digest of its weights."""
    write_json(path, {"identity": identity, "model": model, "part": part.part, "parts": part.parts})


def joined_scores(folders: Sequence[Path], tests: Sequence[TestSet]) -> tuple[dict[str, list[Score]], str]:
    """(scores by file name, in the order of the items; how they were computed).

    UserError: a part is missing or given twice, parts were computed differently or by other models, an item has no
    score or is unknown.
    """
    records = [read_json(Path(folder) / IDENTITY) for folder in folders]
    identities, parts = {r["identity"] for r in records}, sorted(r["part"] for r in records)
    if len(identities) > 1:
        raise UserError(f"parts were computed differently: {', '.join(sorted(identities))}")
    if len({r.get("model") for r in records}) > 1:
        raise UserError("parts were computed by different models", "join the parts of one model")
    numbers = {r["parts"] for r in records}
    if len(numbers) > 1 or parts != list(range(1, max(numbers) + 1)):
        raise UserError(f"parts {parts} of {max(numbers)}", "give every part once")
    joined: dict[str, list[Score]] = {}
    for test in tests:
        found: dict[str, Score] = {}
        for folder in folders:
            for name, score in read_scores(Path(folder) / test.file).items():
                if name in found:
                    raise UserError(f"{folder}: {test.file}: item {name!r} is in another part too")
                found[name] = score
        wanted = [item.id for item in test.items]
        if missing := [name for name in wanted if name not in found]:
            raise UserError(f"{test.file}: {len(missing)} items have no score, such as {missing[0]!r}")
        if unknown := set(found) - set(wanted):
            raise UserError(f"{test.file}: scores of unknown items, such as {sorted(unknown)[0]!r}", "other items?")
        joined[test.file] = [found[name] for name in wanted]
    return joined, identities.pop()
