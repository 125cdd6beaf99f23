"""Quantizers of the same features beside each other: what their units say of phones, and how little they change.

Every number has a 95 % bootstrap interval over utterances; augmented copies are the same for all quantizers, so their
differences are paired. Everything follows from speech, files and seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spire.audio import load_utterance
from spire.errors import UserError
from spire.manifest import Utterance, read_manifest
from spire.progress import Progress
from spire.units.report import conditional_bits, entropy_bits
from spiritlm.evaluation.measures import Measure, measured, paired_interval
from spiritlm.phonetic.augmentation import KINDS, augment
from spiritlm.phonetic.hubert25 import Hubert25
from spiritlm.phonetic.measures import deduplicated, phone_counts, pnmi, unit_errors
from spiritlm.phonetic.quantizer import Quantizer

MODEL, TASK, DIRECTION = "phonetic", "units", "s-s"
_RESAMPLES = 300  # of the phonetic information, which is not a ratio of sums
_AT_ONCE = 16


def unit_measures(
    manifest: Path, hubert: Hubert25, quantizers: Mapping[str, Quantizer], most: int, seed: int
) -> tuple[dict, list[Measure]]:
    """(report, measures) on at most `most` utterances (0: all) that are spread evenly over the manifest.

    The measures are `units.<quantizer>_<augmentation>.s-s.unit_error`, in percent, `units.<quantizer>_clean.s-s.pnmi`;
    the report also has rates, bits and paired differences to the first quantizer. UserError without speech.
    """
    utterances = read_manifest(manifest)
    utterances = utterances[:: max(1, len(utterances) // most)][:most] if most else utterances
    if not utterances:
        raise UserError(f"{manifest}: no utterances", hint="give test speech")
    units, errors = _encoded(utterances, hubert, quantizers, seed)
    report: dict = {"utterances": len(utterances), "quantizers": {}, "differences": {}}
    measures: list[Measure] = []
    first: dict[str, Measure] = {}
    for name, quantizer in quantizers.items():
        about = _plain_measures(units[name], utterances, quantizer.vocabulary)
        found = {kind: _unit_error(f"{name}_{kind}", errors[name][kind], seed) for kind in KINDS}
        information = _phonetic(name, units[name], utterances, quantizer.vocabulary, seed)
        about["unit_error"] = {kind: _interval(measure) for kind, measure in found.items()}
        measures += found.values()
        if information is not None:
            about["pnmi"] = _interval(information)
            measures.append(information)
        report["quantizers"][name] = about
        first = first or found
        if found is not first:
            title = f"{name} - {next(iter(quantizers))}"
            report["differences"][title] = {k: list(paired_interval(found[k], first[k], seed)) for k in KINDS}
    return report, measures


def _interval(measure: Measure) -> list[float | None]:
    return [measure.value, measure.ci_low, measure.ci_high]


def _unit_error(test_set: str, pairs: list[tuple[int, int]], seed: int) -> Measure:
    """From (errors, units) of each utterance; those without units count their errors."""
    items, weights = [100.0 * wrong for wrong, _ in pairs], [float(units) for _, units in pairs]
    signature = f"deduplicated, augmentations of seed {seed}"
    return measured(MODEL, TASK, test_set, DIRECTION, "unit_error", items, weights, signature, seed)


def _encoded(
    utterances: Sequence[Utterance], hubert: Hubert25, quantizers: Mapping[str, Quantizer], seed: int
) -> tuple[dict[str, list[np.ndarray]], dict[str, dict[str, list[tuple[int, int]]]]]:
    """Units of the clean utterances by quantizer, and (errors, units) by quantizer and augmentation."""
    units: dict[str, list[np.ndarray]] = {name: [] for name in quantizers}
    errors: dict[str, dict[str, list]] = {name: {kind: [] for kind in KINDS} for name in quantizers}
    with Progress("augmented units", total=len(utterances), unit="utterances") as progress:
        for start in range(0, len(utterances), _AT_ONCE):
            wavs = [load_utterance(utterance) for utterance in utterances[start : start + _AT_ONCE]]
            clean = hubert.features(wavs)
            for name, quantizer in quantizers.items():
                units[name] += map(quantizer.units, clean)
            for number, kind in enumerate(KINDS):
                draws = [np.random.default_rng([seed, number, start + i]) for i in range(len(wavs))]
                changed = hubert.features([augment(w, kind, rng) for w, rng in zip(wavs, draws, strict=True)])
                for name, quantizer in quantizers.items():
                    errors[name][kind] += [
                        unit_errors(before, quantizer.units(after))
                        for before, after in zip(units[name][start:], changed, strict=True)
                    ]
            progress.advance(len(wavs))
    return units, errors


def _plain_measures(units: Sequence[np.ndarray], utterances: Sequence[Utterance], vocabulary: int) -> dict:
    kept = [deduplicated(ids) for ids in units]
    seconds = sum(utterance.duration for utterance in utterances)
    flat = np.concatenate(kept)
    rate = len(flat) / seconds if seconds else 0.0
    sequences = [ids.tolist() for ids in kept]
    return {
        "vocabulary": vocabulary,
        "units_in_use": len(np.unique(flat)),
        "units_per_second": rate,
        "bits_per_second": rate * entropy_bits(np.bincount(flat)) if len(flat) else 0.0,
        "bits_per_second_given_previous": rate * conditional_bits(sequences, vocabulary + 1),
        "bits_per_second_fixed": rate * float(np.log2(vocabulary)),
    }


def _phonetic(
    name: str, units: Sequence[np.ndarray], utterances: Sequence[Utterance], vocabulary: int, seed: int
) -> Measure | None:
    """The phonetic information with its interval; None where there are no phones.

    Information that is estimated from counts is too high, and higher on resamples, which repeat utterances. So the
    interval is the spread of the resamples about their own mean, put round the value.
    """
    counts = phone_counts(units, utterances, vocabulary + 1)
    if not counts.sum():
        return None
    rng = np.random.default_rng([seed, 5])
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    shares = rng.multinomial(len(flat), np.full(len(flat), 1 / len(flat)), _RESAMPLES) @ flat
    drawn = [pnmi(row.reshape(counts.shape[1:])) for row in shares]
    value = pnmi(counts.sum(axis=0))
    low, high = value + np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn)
    signature = f"phones of the synthesizer, {_RESAMPLES} resamples, seed {seed}"
    return Measure(
        MODEL, TASK, f"{name}_clean", DIRECTION, "pnmi", value, float(low), float(high), len(units), signature
    )
