"""Accuracy of a language model on likelihood tests: how often the right ending is the likelier one (papers 2.5, 2.7).

Two metrics a test set, both in percent: `accuracy` compares log-likelihoods divided by the number of scored tokens,
`accuracy_raw` their sums. A pair counts 1 when the right candidate is above all others, 1/k when k candidates share
the first place with it, 0 otherwise; pairs of one group are averaged first, and intervals draw groups. Chance is the
mean of 1/candidates; every signature states it.

Guarantee: verdicts do not depend on the batch. Where a backend's rounding could change one (`Scorer.margin`), the
candidates of the pair are scored again, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl, write_jsonl
from spiritlm.evaluation.items import Item, TestSet
from spiritlm.evaluation.likelihood import Scorer
from spiritlm.evaluation.measures import Measure, measured
from spiritlm.evaluation.sequences import Scored, Sequences

TASK = "comprehension"


@dataclass(frozen=True)
class Score:
    """Sum of the natural log-probabilities of an item's scored tokens, how many they are, and how many segments of its
    context were left out to make it fit."""

    logprob: float
    tokens: int
    dropped: int = 0

    @property
    def per_token(self) -> float:
        return self.logprob / self.tokens


def score_test_sets(
    tests: Sequence[TestSet],
    scorer: Scorer,
    sequences: Sequences,
    fit: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[list[Score]]:
    """One score an item of each test set, in order; test sets that share contexts or endings share the work. `fit`:
    shorten few-shot contexts that are longer than the model.

    UserError names the item that the model cannot read.
    """
    made = [[_sequence(item, scorer, sequences, fit) for item in test.items] for test in tests]
    logprobs = iter(scorer.logprobs([sequence for one in made for sequence, _ in one], progress))
    scores = [[Score(next(logprobs), len(sequence.ending), dropped) for sequence, dropped in one] for one in made]
    for test, one, found in zip(tests, made, scores, strict=True):
        for first, last in _pairs(test.items):
            if _close(found[first:last], scorer):
                for i in range(first, last):
                    found[i] = Score(scorer.alone(one[i][0]), found[i].tokens, found[i].dropped)
    return scores


def _sequence(item: Item, scorer: Scorer, sequences: Sequences, fit: bool) -> tuple[Scored, int]:
    if fit and scorer.longest is not None:
        return sequences.shortened(item, scorer.longest)
    found = sequences.of(item)
    if scorer.longest is not None and len(found) > scorer.longest:
        raise UserError(
            f"{scorer.folder}: item {item.id} has {len(found)} tokens, the model has {scorer.longest} positions",
            "--fit leaves out examples of few-shot prompts; otherwise give a model with more positions",
        )
    return found, 0


def measures_of(model: str, test: TestSet, scores: Sequence[Score], identity: str) -> list[Measure]:
    """Both metrics of the test set, and of each of its subsets as `<test_set>_<subset>`."""
    names = [""] + sorted({item.subset for item in test.items if item.subset})
    found = []
    for subset in names:
        chosen = [(i, s) for i, s in zip(test.items, scores, strict=True) if not subset or i.subset == subset]
        items, values = [i for i, _ in chosen], [s for _, s in chosen]
        name = f"{test.name}_{subset}" if subset else test.name
        for metric, key in (("accuracy", _per_token), ("accuracy_raw", _sum)):
            shares, chance = verdicts(items, [key(s) for s in values])
            signature = "|".join(
                [
                    identity,
                    "scored:ending",
                    "by:tokens" if metric == "accuracy" else "by:sum",
                    "ties:shared",
                    f"pairs:{sum(1 for _ in _pairs(items))}",
                    f"chance:{100 * chance:.1f}",
                    *([f"shortened:{n}"] if (n := sum(s.dropped > 0 for s in values)) else []),
                ]
            )
            shares = [100.0 * share for share in shares]
            found.append(measured(model, TASK, name, test.direction, metric, shares, signature=signature))
    return found


def verdicts(items: Sequence[Item], values: Sequence[float]) -> tuple[list[float], float]:
    """What each group scored, 0 to 1, in the order of first appearance, and what chance would give on average."""
    groups: dict[str, list[float]] = {}
    chances: dict[str, list[float]] = {}
    for first, last in _pairs(items):
        group, right = items[first].group, next(i for i in range(first, last) if items[i].right)
        best = max(values[first:last])
        winners = sum(value == best for value in values[first:last])
        groups.setdefault(group, []).append(1 / winners if values[right] == best else 0.0)
        chances.setdefault(group, []).append(1 / (last - first))
    means = [sum(shares) / len(shares) for shares in groups.values()]
    return means, sum(sum(c) / len(c) for c in chances.values()) / len(chances)


def write_scores(path: Path, test: TestSet, scores: Sequence[Score]) -> None:
    """`<test_set>.<direction>.jsonl`: {"id", "pair", "right", "logprob", "tokens"}, an item a line."""
    rows = []
    for item, score in zip(test.items, scores, strict=True):
        row = {"id": item.id, "pair": item.pair, "right": item.right, "logprob": score.logprob, "tokens": score.tokens}
        rows.append(row | ({"dropped": score.dropped} if score.dropped else {}))
    write_jsonl(path, rows)


def read_scores(path: Path) -> dict[str, Score]:
    """Scores by item id. UserError: a malformed line, an id twice."""
    found: dict[str, Score] = {}
    for row in read_jsonl(path):
        try:
            name, score = row["id"], Score(float(row["logprob"]), int(row["tokens"]), int(row.get("dropped", 0)))
        except (KeyError, TypeError, ValueError) as e:
            raise UserError(
                f"{path}: {str(row)[:80]} is no score", "scores are written by spiritlm_comprehension.py"
            ) from e
        if name in found:
            raise UserError(f"{path}: the id {name!r} occurs twice")
        found[name] = score
    return found


def share_of(test: TestSet, part: int, parts: int) -> TestSet:
    """Every `parts`-th pair of a test set, from number `part` (1 to parts) on; empty when it has fewer pairs."""
    pairs = [test.items[first:last] for first, last in _pairs(test.items)]
    return TestSet(test.name, test.direction, tuple(item for p in pairs[part - 1 :: parts] for item in p))


def _pairs(items: Sequence[Item]) -> list[tuple[int, int]]:
    """(first, last + 1) of the candidates of each pair."""
    found, at = [], 0
    for _, group in groupby(items, key=lambda item: item.pair):
        last = at + sum(1 for _ in group)
        found.append((at, last))
        at = last
    return found


def _close(scores: Sequence[Score], scorer: Scorer) -> bool:
    """Whether another batch could change which candidate is first."""
    margin = max(scorer.margin(score.logprob) for score in scores)
    fewest = min(score.tokens for score in scores)
    for key, room in ((_sum, margin), (_per_token, margin / fewest)):
        best, second = sorted(map(key, scores), reverse=True)[:2]
        if best - second < room:
            return True
    return False


def _sum(score: Score) -> float:
    return score.logprob


def _per_token(score: Score) -> float:
    return score.per_token
