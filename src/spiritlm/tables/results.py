"""What is published of a SpiRit-LM study for others to check: every measure with its items, and how trainings went.

Guarantee: `read_collected` gives back the measures that `write_collected` wrote, items to six decimals, so comparisons
can be made again from the published file alone.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl, read_text, write_jsonl, write_text
from spiritlm.evaluation.measures import Measure, checked

HEADING = ("training", "lines", "first_loss", "last_loss", "all_finite")


def write_collected(path: Path, measures: Iterable[Measure]) -> int:
    """Write one measure a line, sorted by what they measure; whole numbers are written as such. Returns their count."""
    rows = []
    for measure in sorted(measures, key=lambda m: (m.model, m.stem)):
        row = asdict(measure)
        for name in ("items", "weights"):
            row[name] = [_short(value) for value in row[name]]
        rows.append(row)
    return write_jsonl(path, rows)


def read_collected(path: Path) -> list[Measure]:
    """The measures of a file; `UserError` with the line for anything else."""
    names = {field.name for field in fields(Measure)}
    found = []
    for number, row in enumerate(read_jsonl(path), start=1):
        if set(row) != names or not all(isinstance(row[name], list) for name in ("items", "weights")):
            raise UserError(f"{path}:{number}: not a measure", "the file is written by scripts/spiritlm_results.py")
        row |= {name: tuple(row[name]) for name in ("items", "weights")}
        found.append(checked(Measure(**row), f"{path}:{number}"))
    return found


def write_trainings(path: Path, logs: Mapping[str, Path]) -> None:
    """Write a CSV line a training: lines of its log with a loss, first and last loss, whether every loss is finite.

    A log is JSONL, or a .json or .yaml file with its lines under `curve`. What counts in a line is its `loss`; every
    other number in it, nested ones too, must be finite as well. `UserError` for a log without a loss.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADING)
    for name, log in logs.items():
        rows = list(_rows(Path(log)))
        losses = [row["loss"] for row in rows if isinstance(row.get("loss"), int | float)]
        if not losses:
            raise UserError(f"{log}: no loss in any line", "give the log of a training")
        finite = all(math.isfinite(value) for row in rows for value in _numbers(row))
        writer.writerow([name, len(losses), f"{losses[0]:.6g}", f"{losses[-1]:.6g}", str(finite).lower()])
    write_text(path, out.getvalue())


def read_trainings(path: Path) -> list[dict[str, str]]:
    """The lines of that file by heading; `UserError` for another heading."""
    reader = csv.DictReader(io.StringIO(read_text(path)))
    if tuple(reader.fieldnames or ()) != HEADING:
        raise UserError(f"{path}:1: expected the heading {','.join(HEADING)}")
    return list(reader)


def _rows(log: Path) -> Iterable[dict]:
    if log.suffix in (".json", ".yaml"):
        import yaml

        try:
            lines = yaml.safe_load(read_text(log))["curve"]
        except (yaml.YAMLError, KeyError, TypeError):
            raise UserError(f"{log}: no lines under curve", "give the log of a training") from None
    else:
        lines = []
        # NaN and Infinity are no JSON for others, but they are what a log of a broken training holds.
        for number, line in enumerate(filter(str.strip, read_text(log).splitlines()), start=1):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError as e:
                raise UserError(f"{log}:{number}: not JSON: {e.msg}") from None
    yield from (line for line in lines if isinstance(line, dict))


def _numbers(value: object) -> Iterable[float]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, int | float):
        yield value


def _short(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, 6)
