"""Corpus BLEU, 0 to 100: sacreBLEU's number, with an interval that resamples its per-sentence n-gram counts.

Decided cases:
- A sentence without a reference (None) is left out and counted in `skipped`; an empty reference string stays in, as in
  sacreBLEU.
- An empty hypothesis has no n-grams and shortens the system output, so the brevity penalty sees it.
- No n-gram match in the corpus, or an output without any 4-gram, is BLEU 0, as in sacreBLEU.
- No sentence left to score is a `ValueError`.

The default tokenizer is 13a. `flores200` (SPIRE's choice) makes sacreBLEU download a model, which the shipped profile
never does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics import BLEU

from spire.scoring.bootstrap import RESAMPLES, interval
from spire.scoring.measurement import Measurement, bootstrap_fields

ORDER = 4


def bleu_formula(sums: np.ndarray) -> np.ndarray:
    """Summed (system length, reference length, 4 matches, 4 totals) [r, 10] to BLEU [r], with exponential smoothing.

    The k-th order without a match counts as 2**-k matches; an order without n-grams makes the score 0.
    """
    system, reference = sums[:, 0], sums[:, 1]
    correct, total = sums[:, 2 : 2 + ORDER], sums[:, 2 + ORDER :]
    unmatched = np.cumsum(correct == 0, axis=1)
    smoothed = np.where(correct == 0, 0.5**unmatched, correct)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(100 * smoothed / total).mean(axis=1)
        brevity = np.where(system < reference, np.exp(1 - reference / system), 1.0)
        values = brevity * np.exp(logs)
    return np.where((correct.sum(axis=1) == 0) | (total == 0).any(axis=1), 0.0, values)


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = "13a") -> np.ndarray:
    """Per-sentence (system length, reference length, matches of order 1..4, totals of order 1..4): int64 [n, 10]."""
    # Effective order changes only the sentence's score, which is not used; without it every sentence prints a warning.
    metric = BLEU(tokenize=tokenizer, effective_order=True)
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        score = metric.sentence_score(hypothesis, [reference])
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(rows, dtype=np.int64).reshape(-1, 2 + 2 * ORDER)


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str | None],
    seed: int = 1,
    resamples: int = RESAMPLES,
    tokenizer: str = "13a",
) -> Measurement:
    """Corpus BLEU; `value` equals `sacrebleu.metrics.BLEU(tokenize=tokenizer).corpus_score(...).score`.

    >>> round(bleu(["the cat sat on the mat"], ["the cat sat on the mat"]).value, 6)
    100.0
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    pairs = [(h, r) for h, r in zip(hypotheses, references, strict=True) if r is not None]
    if not pairs:
        raise ValueError("no sentence with a reference")
    statistics = bleu_statistics([h for h, _ in pairs], [r for _, r in pairs], tokenizer)
    sums = [int(x) for x in statistics.sum(axis=0)]
    value = BLEU.compute_bleu(sums[2 : 2 + ORDER], sums[2 + ORDER :], sums[0], sums[1], smooth_method="exp").score
    bounds = interval(statistics, bleu_formula, value, resamples, seed)
    skipped = len(references) - len(pairs)
    signature = f"BLEU|{_signature(tokenizer)}" + bootstrap_fields(resamples, seed, skipped)
    return Measurement("bleu", value, bounds.low, bounds.high, len(pairs), skipped, signature)


def _signature(tokenizer: str) -> str:
    # sacreBLEU knows the number of references, a field of its signature, only after it scored something.
    metric = BLEU(tokenize=tokenizer)
    metric.corpus_score(["x"], [["x"]])
    return str(metric.get_signature())
