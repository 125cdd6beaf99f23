"""What every metric returns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measurement:
    """One number with what is needed to trust it.

    Attributes:
        metric: "wer", "bleu" or "chrf".
        value: in percent (WER) or on the metric's 0 to 100 scale.
        ci_low, ci_high: 95 % bootstrap interval, same unit.
        n: sentences scored.
        skipped: sentences left out because their reference is missing or (WER) empty after normalization.
        signature: metric, versions, normalizer or tokenizer, bootstrap: `|` between fields, `:` inside.
        per_sentence: what WER by voice needs: (index of the sentence, errors, reference words); empty for the other
        metrics.
    """

    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    skipped: int
    signature: str
    per_sentence: tuple[tuple[int, int, int], ...] = field(default=(), repr=False)


def bootstrap_fields(resamples: int, seed: int, skipped: int) -> str:
    """The end of every signature: how the interval was made, and how many sentences were left out when any were."""
    text = f"|bs:{resamples}|seed:{seed}|ci:percentile95"
    return text + (f"|skipped:{skipped}" if skipped else "")
