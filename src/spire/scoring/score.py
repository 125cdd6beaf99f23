"""Scores every hypothesis file of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_folder
from spire.scoring.bleu import bleu
from spire.scoring.bootstrap import RESAMPLES
from spire.scoring.cells import CellName, ScoreCell, parse_name, write_cell
from spire.scoring.chrf import chrf
from spire.scoring.decoding import decoding_fields
from spire.scoring.measurement import Measurement
from spire.scoring.references import TEXT_SET, TestSet, read_test_sets
from spire.scoring.wer import word_error_rate
from spire.textfiles import read_lines, write_json

BY_SPEAKER = "by_speaker.json"
_DIGITS = 6


def score_folder(
    model: str,
    hypotheses: Path,
    manifests: Mapping[str, Path],
    sentences: Path | None,
    out: Path,
    seed: int = 1,
    resamples: int = RESAMPLES,
    tokenizer: str = "13a",
) -> list[ScoreCell]:
    """Write one score file a cell, and WER by speaker, to the folder `out`; return the cells in order of file name.

    hypotheses: folder of `<mode>.<test_set>.<src>-<tgt>.txt`, one line for each line of the test set.
    `UserError`, and nothing written: a name of another form, an unknown test set, a file that is not UTF-8, another
    number of lines than the test set has, no reference in the target language, or no hypotheses at all.
    """
    hypotheses = Path(hypotheses)
    sets = read_test_sets(manifests, sentences)
    paths = sorted(hypotheses.glob("*.txt"))
    if not paths:
        raise UserError(f"{hypotheses}: no hypotheses", "expected files <mode>.<test_set>.<src>-<tgt>.txt")
    made = decoding_fields(hypotheses)

    cells, by_speaker = [], {}
    for path in paths:
        name = parse_name(path.name)
        test_set = _test_set(name, path, sets)
        lines = _lines(path, test_set)
        for measurement in measure(name, path, lines, test_set, seed, resamples, tokenizer):
            measurement = replace(measurement, signature=measurement.signature + made)
            cells.append(_cell(model, name, measurement))
            if measurement.per_sentence and test_set.speakers:
                by_speaker[name.stem] = _by_speaker(measurement, test_set)

    with replaced_folder(out) as folder:
        for cell in cells:
            write_cell(folder, cell)
        write_json(folder / BY_SPEAKER, {"model": model, "cells": by_speaker})
    return cells


def measure(
    name: CellName, path: Path, lines: list[str], test_set: TestSet, seed: int, resamples: int, tokenizer: str
) -> list[Measurement]:
    """All metrics of one cell; `UserError` when not one line can be scored."""
    references = test_set.references(name.tgt)
    try:
        if name.metrics == ("wer",):
            return [word_error_rate(lines, references, name.tgt, seed, resamples)]
        return [bleu(lines, references, seed, resamples, tokenizer), chrf(lines, references, seed, resamples)]
    except ValueError as e:
        raise UserError(f"{path} against {test_set.path}: {e}") from None


def _test_set(name: CellName, path: Path, sets: Mapping[str, TestSet]) -> TestSet:
    try:
        return sets[name.test_set]
    except KeyError:
        hint = "--sentences FILE" if name.test_set == TEXT_SET else f"--manifest {name.test_set}=FILE"
        raise UserError(
            f"{path}: unknown test set {name.test_set!r}; known are {', '.join(sorted(sets)) or 'none'}", f"add {hint}"
        ) from None


def _lines(path: Path, test_set: TestSet) -> list[str]:
    lines = read_lines(path)
    if len(lines) != len(test_set):
        raise UserError(
            f"{path} has {len(lines)} lines, {test_set.path} has {len(test_set)}",
            "every line of a test set needs one hypothesis, possibly empty; decode with the same manifest",
        )
    return lines


def _cell(model: str, name: CellName, measurement: Measurement) -> ScoreCell:
    return ScoreCell(
        table=name.table,
        model=model,
        test_set=name.test_set,
        language_pair=name.language_pair,
        mode=name.mode,
        metric=measurement.metric,
        value=round(measurement.value, _DIGITS),
        ci_low=round(measurement.ci_low, _DIGITS),
        ci_high=round(measurement.ci_high, _DIGITS),
        n=measurement.n,
        signature=measurement.signature,
    )


def _by_speaker(measurement: Measurement, test_set: TestSet) -> dict[str, dict[str, float | int]]:
    """WER of each speaker: {speaker: {wer, errors, words, n}}, by name."""
    groups: dict[str, list[int]] = {}
    for index, errors, words in measurement.per_sentence:
        group = groups.setdefault(test_set.speakers[index], [0, 0, 0])
        group[0] += errors
        group[1] += words
        group[2] += 1
    return {
        speaker: {"wer": round(100 * errors / words, _DIGITS), "errors": errors, "words": words, "n": n}
        for speaker, (errors, words, n) in sorted(groups.items())
    }
