"""Corpus chrF2, 0 to 100: sacreBLEU's definition, with an interval that resamples its per-sentence n-gram counts.

Character n-grams of order 1 to 6 without white space, no word n-grams, recall weighted with beta 2.

Decided cases:
- A sentence without a reference (None) is left out and counted in `skipped`; an empty reference string stays in and, as
  in sacreBLEU, hides the hypothesis of its sentence (no n-grams of either side count).
- An empty hypothesis lowers recall.
- No match at all is chrF 0. No sentence left to score is a `ValueError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sacrebleu.metrics import CHRF

from spire.scoring.bootstrap import RESAMPLES, interval
from spire.scoring.measurement import Measurement, bootstrap_fields

ORDER = 6
BETA = 2


@lru_cache(maxsize=1 << 14)
def _ngrams(text: str) -> tuple[Counter[str], ...]:
    # Cached because every reference is met again in each mode (direct, cascade, gold) of a test set.
    text = "".join(text.split())
    return tuple(Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, ORDER + 1))


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Per-sentence (n-grams of the hypothesis, of the reference, in both) for each order 1..6: int64 [n, 18]."""
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        row = []
        for ours, theirs in zip(_ngrams(hypothesis), _ngrams(reference), strict=True):
            matches = sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
            row += [ours.total() if theirs else 0, theirs.total(), matches]
        rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, 3 * ORDER)


def chrf_formula(sums: np.ndarray) -> np.ndarray:
    """Summed statistics [r, 18] to chrF2 [r]: the F score of precision and recall averaged over the orders both sides
    have."""
    ours, theirs, matches = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    present = (ours > 0) & (theirs > 0)
    orders = present.sum(axis=1)
    precision, recall = np.zeros(len(sums)), np.zeros(len(sums))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Order by order, as sacreBLEU adds: numpy's pairwise sum would differ in the last bit.
        for i in range(ORDER):
            precision += np.where(present[:, i], matches[:, i] / ours[:, i], 0.0)
            recall += np.where(present[:, i], matches[:, i] / theirs[:, i], 0.0)
        precision, recall = precision / orders, recall / orders
        values = 100 * ((1 + BETA**2) * precision * recall / (BETA**2 * precision + recall))
    return np.where((orders == 0) | ~(precision + recall > 0), 0.0, values)


def chrf(
    hypotheses: Sequence[str], references: Sequence[str | None], seed: int = 1, resamples: int = RESAMPLES
) -> Measurement:
    """Corpus chrF2; `value` equals `sacrebleu.metrics.CHRF().corpus_score(...).score`.

    >>> round(chrf(["two books"], ["two books"]).value, 6)
    100.0
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    pairs = [(h, r) for h, r in zip(hypotheses, references, strict=True) if r is not None]
    if not pairs:
        raise ValueError("no sentence with a reference")
    statistics = chrf_statistics([h for h, _ in pairs], [r for _, r in pairs])
    value = float(chrf_formula(statistics.sum(axis=0, keepdims=True).astype(np.float64))[0])
    bounds = interval(statistics, chrf_formula, value, resamples, seed)
    skipped = len(references) - len(pairs)
    signature = f"chrF2|{_signature()}" + bootstrap_fields(resamples, seed, skipped)
    return Measurement("chrf", value, bounds.low, bounds.high, len(pairs), skipped, signature)


def _signature() -> str:
    metric = CHRF()
    metric.corpus_score(["x"], [["x"]])
    return str(metric.get_signature())
