"""Measured numbers of SpiRit-LM: one JSON file for each number, with its interval, and what every item contributed.

A measure is called `<task>.<test_set>.<direction>.<metric>.json` and lies in a folder of one model or system.
Guarantee: where its items are known (`<...>.items.json` beside it) its value is sum(items) / sum(weights), so intervals
and paired comparisons can be made again without the texts and the audio.

    from spiritlm.evaluation.measures import measured, write_measures
    right = [100.0, 0.0, 100.0]                       # of three pairs, in percent
    write_measures(folder, [measured("base", "comprehension", "wuggy", "s-s", "accuracy", right, signature="...")])
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import replaced_folder
from spire.scoring.bootstrap import RESAMPLES, percentiles, resampled_values
from spire.textfiles import read_json, write_json

DIRECTIONS = ("t-t", "s-s", "t-s", "s-t")
"""Modality that is given, modality that is scored or generated: text or speech."""
SUFFIX = ".items.json"
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Measure:
    """One number, in the unit of its metric (accuracy, wer, cer in percent).

    Attributes:
        model: whose it is; a branch of Spirit, or a source of audio.
        task, test_set, metric: names of letters, digits, `_` and `-`.
        direction: one of `DIRECTIONS`.
        ci_low, ci_high: 95 % percentile bootstrap interval over items; None where there is none.
        n: number of items.
        signature: how it was made: normalizer, decoding, seed, resamples.
        items: what each item contributed, in the order of the test set; empty where it is not kept.
        weights: what each item counts, as many as items; empty: 1 each.
    """

    model: str
    task: str
    test_set: str
    direction: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    signature: str = ""
    items: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def stem(self) -> str:
        return f"{self.task}.{self.test_set}.{self.direction}.{self.metric}"


FIELDS = tuple(field.name for field in fields(Measure) if field.name not in ("items", "weights"))


def measured(
    model: str,
    task: str,
    test_set: str,
    direction: str,
    metric: str,
    items: Sequence[float],
    weights: Sequence[float] = (),
    signature: str = "",
    seed: int = 1,
) -> Measure:
    """A measure from its items: sum(items) / sum(weights) with its interval; both are kept.

    For a mean leave `weights` out; a word error rate has 100 x errors as items and words as weights.
    `UserError` without items, or for a number that is not finite.
    """
    if not len(items):
        raise UserError(f"{model}: {task} {test_set} {direction}: nothing to measure", "is the test set empty?")
    value, low, high = ratio_interval(items, weights if len(weights) else [1.0] * len(items), seed)
    kept = tuple(map(float, items)), tuple(map(float, weights))
    return Measure(model, task, test_set, direction, metric, value, low, high, len(items), signature, *kept)


def mean_interval(values: Sequence[float], seed: int = 1, resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """(mean, low, high): the mean of the items and its 95 % percentile bootstrap interval, the same for the same seed.

    `UserError` without items, or for a number that is not finite.
    """
    return ratio_interval(values, [1.0] * len(values), seed, resamples)


def ratio_interval(
    items: Sequence[float], weights: Sequence[float], seed: int = 1, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """(sum(items) / sum(weights), low, high): items are drawn with their weights. Errors as `mean_interval`."""
    rows = _rows(items, weights)
    value = float(_ratio(rows.sum(axis=0, keepdims=True))[0])
    bounds = percentiles(resampled_values(rows, _ratio, resamples, seed), value)
    return value, bounds.low, bounds.high


def paired_interval(a: Measure, b: Measure, seed: int = 1) -> tuple[float, float, float]:
    """(a - b, low, high): every resample draws the same items of both, which must be of the same test set.

    `UserError` when one of them kept no items or their numbers differ.
    """
    bounds = percentiles(paired_resamples(a, b, seed), a.value - b.value)
    return a.value - b.value, bounds.low, bounds.high


def resampled(measure: Measure, seed: int = 1) -> np.ndarray:
    """The value on every resample of its items: float64 [RESAMPLES]. `UserError` when it kept none."""
    return resampled_values(_kept(measure), _ratio, RESAMPLES, seed)


def paired_resamples(a: Measure, b: Measure, seed: int = 1) -> np.ndarray:
    """a - b on every resample of the items of both: float64 [RESAMPLES]. Errors as `paired_interval`."""
    one, other = _kept(a), _kept(b)
    if len(one) != len(other):
        raise UserError(
            f"{a.stem} of {a.model} has {len(one)} items, {b.stem} of {b.model} {len(other)}",
            "compare on the same test set",
        )
    both = np.concatenate([one, other], axis=1)
    return resampled_values(both, lambda sums: _ratio(sums[:, :2]) - _ratio(sums[:, 2:]), RESAMPLES, seed)


def write_measures(folder: str | Path, measures: Iterable[Measure]) -> None:
    """Write a folder of these measures; it appears whole, in place of an older one.

    `UserError`, before anything is written: two of one name, a name with other characters, a direction that is none, a
    number that is not finite, or items that do not give the value.
    """
    found: dict[str, Measure] = {}
    for measure in measures:
        checked(measure, f"measure {measure.stem}")
        if measure.stem in found:
            raise UserError(f"{folder}: measured twice: {measure.stem}", "give every test set a name of its own")
        found[measure.stem] = measure
    with replaced_folder(folder) as partial:
        for stem, measure in found.items():
            write_json(partial / f"{stem}.json", {name: getattr(measure, name) for name in FIELDS})
            if measure.items:
                write_json(
                    partial / f"{stem}{SUFFIX}", {"items": list(measure.items), "weights": list(measure.weights)}
                )


def read_measures(folder: str | Path) -> list[Measure]:
    """All measures of a folder with their items, by file name.

    `UserError`: no such folder, no measure in it, a missing or wrong field, a name that contradicts the fields, items
    that do not give the value.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of measures", "run the step that writes it")
    paths = [path for path in sorted(folder.glob("*.*.*.*.json")) if not path.name.endswith(SUFFIX)]
    if not paths:
        raise UserError(f"{folder}: no measures", "they are called <task>.<test_set>.<direction>.<metric>.json")
    return [_read(path) for path in paths]


def _read(path: Path) -> Measure:
    record = read_json(path)
    if not isinstance(record, dict) or set(record) != set(FIELDS):
        raise UserError(f"{path}: expected a JSON object with the fields {', '.join(FIELDS)}")
    kept: dict = {"items": [], "weights": []}
    beside = path.with_name(path.name.removesuffix(".json") + SUFFIX)
    if beside.exists():
        kept = read_json(beside)
        if not isinstance(kept, dict) or not all(_numbers(kept.get(name)) for name in ("items", "weights")):
            raise UserError(f"{beside}: expected an object of two lists of numbers, items and weights")
    measure = Measure(**record, items=tuple(kept["items"]), weights=tuple(kept["weights"]))
    checked(measure, str(path))
    if f"{measure.stem}.json" != path.name:
        raise UserError(
            f"{path}: its fields belong to {measure.stem}.json", "measures are written by a step, not edited"
        )
    return measure


def checked(measure: Measure, where: str) -> Measure:
    """The measure, when it is what a measure must be; else `UserError` that `where` opens."""
    for name in ("model", "task", "test_set", "metric"):
        value = getattr(measure, name)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise UserError(f"{where}: {name} is {value!r}", "names are of letters, digits, _ and -")
    if measure.direction not in DIRECTIONS:
        raise UserError(f"{where}: direction is {measure.direction!r}", f"one of {', '.join(DIRECTIONS)}")
    if not isinstance(measure.n, int) or isinstance(measure.n, bool) or measure.n < 1:
        raise UserError(f"{where}: n is {measure.n!r}, not a positive count")
    bounds = (measure.ci_low, measure.ci_high)
    numbers = [measure.value, *(b for b in bounds if b is not None)]
    if not _numbers(numbers):
        raise UserError(f"{where}: value and interval are {[measure.value, *bounds]}, not finite numbers")
    if (bounds[0] is None) != (bounds[1] is None):
        raise UserError(f"{where}: one end of the interval is missing")
    if measure.items:
        rows = _rows(measure.items, measure.weights or [1.0] * len(measure.items))
        value = float(_ratio(rows.sum(axis=0, keepdims=True))[0])
        if len(measure.items) != measure.n or not math.isclose(value, measure.value, rel_tol=1e-6, abs_tol=1e-6):
            raise UserError(
                f"{where}: {len(measure.items)} items give {value}, the measure says {measure.value} of {measure.n}"
            )
    return measure


def _numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )


def _kept(measure: Measure) -> np.ndarray:
    if not measure.items:
        raise UserError(
            f"{measure.model}: {measure.stem}: no items are kept", "a comparison needs what each item scored"
        )
    return _rows(measure.items, measure.weights or [1.0] * len(measure.items))


def _rows(items: Sequence[float], weights: Sequence[float]) -> np.ndarray:
    """Items beside their weights: float64 [n, 2]."""
    if not len(items) or len(items) != len(weights):
        raise UserError(f"{len(items)} items and {len(weights)} weights", "one of each, and at least one")
    rows = np.stack([np.asarray(items, dtype=np.float64), np.asarray(weights, dtype=np.float64)], axis=1)
    if not np.isfinite(rows).all() or (rows[:, 1] < 0).any() or not rows[:, 1].sum() > 0:
        raise UserError("items that are not finite, or weights that are negative or all 0")
    return rows


def _ratio(sums: np.ndarray) -> np.ndarray:
    """[r, 2] to [r]; a resample that drew weights of 0 only counts as 0."""
    items, weights = sums[:, 0], sums[:, 1]
    return np.divide(items, weights, out=np.zeros_like(items), where=weights > 0)
