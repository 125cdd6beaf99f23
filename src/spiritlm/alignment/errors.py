"""How far word times are from the true ones, and how well a recognizer hears: measures with intervals.

Items are utterances, so intervals are over utterances. An utterance without times, or with other words than the truth,
counts in `aligned` (percent) and in no error. Times are compared word by word: the mean distance of starts and of ends
in milliseconds, and the share of both that is within 20 and 50 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spire.errors import UserError
from spire.scoring.wer import character_error_rate, word_error_rate
from spiritlm.alignment.words import Aligned
from spiritlm.evaluation.measures import Measure, measured

WITHIN_MS = (20, 50)


def alignment_measures(
    found: Sequence[Aligned], truth: Sequence[Aligned], model: str, test_set: str, seed: int = 1
) -> list[Measure]:
    """Measures `alignment.<test_set>.s-t.*`; UserError when the utterances are not the same or none is aligned."""
    if [a.id for a in found] != [a.id for a in truth]:
        raise UserError(f"{test_set}: word times and true times are of other utterances", "align the same manifest")
    pairs = list(zip(found, truth, strict=True))
    alike = [bool(a.words) and [w[0] for w in a.words] == [w[0] for w in b.words] for a, b in pairs]
    if not any(alike):
        raise UserError(f"{test_set}: no utterance has the words that the true times are of", "align the same manifest")
    starts = [_distances(a, b, 1) for (a, b), same in zip(pairs, alike, strict=True) if same]
    ends = [_distances(a, b, 2) for (a, b), same in zip(pairs, alike, strict=True) if same]
    counts = [float(len(s)) for s in starts]
    signature = f"words:{int(sum(counts))}|utterances:{len(counts)}|seed:{seed}"

    def measure(metric: str, items: list[float], weights: list[float]) -> Measure:
        return measured(model, "alignment", test_set, "s-t", metric, items, weights, signature, seed)

    measures = [
        measure("aligned", [100.0 * same for same in alike], []),
        measure("start_error_ms", [float(s.sum()) for s in starts], counts),
        measure("end_error_ms", [float(e.sum()) for e in ends], counts),
    ]
    both = [np.concatenate(times) for times in zip(starts, ends, strict=True)]
    for limit in WITHIN_MS:
        items = [100.0 * float((times <= limit).sum()) for times in both]
        measures.append(measure(f"within_{limit}_ms", items, [2 * n for n in counts]))
    return measures


def _distances(found: Aligned, truth: Aligned, column: int) -> np.ndarray:
    """float64 [words]: milliseconds between the times of one column."""
    pairs = zip(found.words, truth.words, strict=True)
    return np.array([1000 * abs(a[column] - b[column]) for a, b in pairs], np.float64)


def hearing_measures(
    heard: Sequence[str], texts: Sequence[str], model: str, test_set: str, language: str = "en", seed: int = 1
) -> list[Measure]:
    """`asr.<test_set>.s-t.{wer,cer}` of transcripts; sentences without words are left out."""
    measures = []
    for metric, rate in (("wer", word_error_rate), ("cer", character_error_rate)):
        result = rate(heard, texts, language, seed)
        rows = [row for row in result.rows if row]
        items, weights = [100.0 * row[0] for row in rows], [float(row[1]) for row in rows]
        measures.append(measured(model, "asr", test_set, "s-t", metric, items, weights, result.signature, seed))
    return measures
