"""What the small SpiRit-LM study must show, as conditions over its measures.

Contrasts carry the meaning: units against those of another utterance, interleaved training against none, Expressive
against Base. Each is asked for with its interval: a difference that resampling the items could undo is no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from spire.tables.check import Condition, cost_condition
from spiritlm.evaluation.measures import Measure, paired_interval
from spiritlm.tables.collected import Collected
from spiritlm.tables.results import read_collected, read_trainings

CROSS_MODAL = (("tsc", "t-s"), ("tsc", "s-t"), ("sc", "t-s"), ("sc", "s-t"))
CPU_SECONDS = 1800
MARGIN = 15
"""Percent by which resynthesis must be below the control in mel distance, and in word error rate."""


def conditions(measures: Iterable[Measure], trainings: Iterable[Mapping[str, str]] = ()) -> list[Condition]:
    """Every condition, in a fixed order. trainings: rows of `spiritlm.tables.results.read_trainings`."""
    found = Collected(measures)
    wanted = []
    for source in ("base", "expressive"):
        for metric, words in (("mel_distance", "mel distance"), ("wer", "WER")):
            wanted += _below_control(found, source, metric, words)
    wanted.append(_interleaving(found))
    wanted.append(_pitch(found))
    wanted += [
        Condition(
            f"losses of {row['training']} are finite", 1.0 if row["all_finite"] == "true" else 0.0, ">=", 1, "yes"
        )
        for row in trainings
    ]
    return wanted


def folder_conditions(folder: Path) -> list[Condition]:
    """The conditions on a folder of published results: measures.jsonl, trainings.csv, run.json. `UserError` where one
    of the first two is missing; without run.json nothing is asked of the cost."""
    found = conditions(read_collected(folder / "measures.jsonl"), read_trainings(folder / "trainings.csv"))
    if (folder / "run.json").exists():
        found.append(replace(cost_condition(folder / "run.json"), limit=CPU_SECONDS))
    return found


def _below_control(found: Collected, source: str, metric: str, words: str) -> list[Condition]:
    name = f"{words} of {source} units below that of shuffled units"
    apart = f"{words}: interval of {source} units below the shuffled one"
    ours, control = (_resynthesis(found, which, metric) for which in (source, "shuffled"))
    if ours is None or control is None or ours.ci_high is None or control.ci_low is None:
        return [Condition(name, None, ">=", MARGIN, "%"), Condition(apart, None, ">=", 0, "apart")]
    gain = 100 * (1 - ours.value / control.value) if control.value else 0.0
    numbers = f"{ours.value:.2f} ({ours.ci_low:.2f} to {ours.ci_high:.2f}), shuffled {control.value:.2f} "
    numbers += f"({control.ci_low:.2f} to {control.ci_high:.2f})"
    return [
        Condition(name, gain, ">=", MARGIN, "%", numbers),
        Condition(apart, control.ci_low - ours.ci_high, ">=", 1e-9, "apart"),
    ]


def _interleaving(found: Collected) -> Condition:
    name = "interleaving beats none, cross-modal accuracy, lower end"
    parts = [
        p for p in CROSS_MODAL if all(found.get(m, "comprehension", p, "accuracy") for m in ("base", "no_interleaving"))
    ]
    gap = found.gap("base", "no_interleaving", "comprehension", parts, "accuracy") if parts else None
    if gap is None:
        return Condition(name, None, ">=", 0, "points")
    tests = ", ".join(" ".join(part) for part in parts)
    return Condition(name, gap[1], ">=", 1e-9, "points", f"{gap[0]:.1f} ({gap[1]:.1f} to {gap[2]:.1f}) over {tests}")


def _pitch(found: Collected) -> Condition:
    name = "F0 error that Expressive saves over Base, lower end"
    base, expressive = (_resynthesis(found, which, "f0_error") for which in ("base", "expressive"))
    if base is None or expressive is None or not base.items or not expressive.items:
        return Condition(name, None, ">=", 0, "points")
    value, low, high = paired_interval(base, expressive)
    numbers = f"{base.value:.1f} - {expressive.value:.1f} = {value:.1f} ({low:.1f} to {high:.1f})"
    return Condition(name, low, ">=", 1e-9, "points", numbers)


def _resynthesis(found: Collected, source: str, metric: str) -> Measure | None:
    return next(iter(found.select(task="resynthesis", test_set=source, metric=metric)), None)
