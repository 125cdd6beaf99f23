"""Word error rate in percent: jiwer over Whisper's text normalizer, both sides, whole corpus.

Decided cases:
- A sentence whose reference is missing, or empty after normalization, is left out and counted in `skipped`: it has no
  words to get wrong, and SPIRE's evaluation removes such lines too.
- An empty hypothesis counts every reference word as deleted.
- WER may exceed 100: inserted words count.
- No sentence left to score is a `ValueError`; there is no number to return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version

import jiwer
import numpy as np

from spire.scoring.bootstrap import RESAMPLES, interval
from spire.scoring.measurement import Measurement, bootstrap_fields


@lru_cache(maxsize=2)
def normalizer(language: str) -> tuple[Callable[[str], str], str]:
    """Whisper's normalizer for a language, with its name for signatures: `english` for en, `basic` for all others."""
    if language == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        name, function = "english", EnglishTextNormalizer()
    else:
        from whisper_normalizer.basic import BasicTextNormalizer

        name, function = "basic", BasicTextNormalizer()
    # Models are scored on the same references in several modes, and weak models repeat themselves.
    return lru_cache(maxsize=1 << 16)(function), f"whisper-{name}-{version('whisper-normalizer')}"


def wer_formula(sums: np.ndarray) -> np.ndarray:
    """Summed (errors, reference words) [r, 2] to WER in percent [r]."""
    return 100 * sums[:, 0] / sums[:, 1]


def word_error_rate(
    hypotheses: Sequence[str],
    references: Sequence[str | None],
    language: str = "en",
    seed: int = 1,
    resamples: int = RESAMPLES,
) -> Measurement:
    """Corpus WER; equal to `100 * jiwer.wer` on the normalized texts of the scored sentences.

    >>> word_error_rate(["two red books"], ["Two red books!"]).value
    0.0
    """
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references")
    normalize, name = normalizer(language)
    kept, kept_references, kept_hypotheses = [], [], []
    for i, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        text = normalize(reference).strip() if reference is not None else ""
        if text:
            kept.append(i)
            kept_references.append(text)
            kept_hypotheses.append(normalize(hypothesis))
    if not kept:
        raise ValueError("no sentence with a non-empty reference")

    output = jiwer.process_words(kept_references, kept_hypotheses)
    statistics = np.array(
        [
            (sum(_cost(chunk) for chunk in chunks), len(words))
            for chunks, words in zip(output.alignments, output.references, strict=True)
        ],
        dtype=np.int64,
    )
    value = 100 * output.wer
    bounds = interval(statistics, wer_formula, value, resamples, seed)
    skipped = len(references) - len(kept)
    signature = f"WER|normalizer:{name}|jiwer:{version('jiwer')}" + bootstrap_fields(resamples, seed, skipped)
    per_sentence = tuple((i, int(e), int(w)) for i, (e, w) in zip(kept, statistics, strict=True))
    return Measurement("wer", value, bounds.low, bounds.high, len(kept), skipped, signature, per_sentence)


def _cost(chunk: jiwer.AlignmentChunk) -> int:
    if chunk.type == "equal":
        return 0
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
