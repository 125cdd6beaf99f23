"""Quality of the discrete units by encoder, from the reports of `scripts/units_report.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spire.errors import UserError
from spire.tables.layout import Cell, Column, Number, Table
from spire.textfiles import read_json

MEASURES = (
    # name in the report, heading, factor, digits
    ("pnmi", "PNMI", 1, 3),
    ("phone_purity", "phone purity", 1, 3),
    ("cluster_purity", "cluster purity", 1, 3),
    ("units_per_second", "units/s", 1, 1),
    ("removed_by_deduplication", "removed by dedup. %", 100, 1),
    ("units_in_use", "units in use", 1, 0),
    ("bits_per_second", "bits/s", 1, 0),
)


def units_table(reports: Sequence[Path]) -> Table:
    """One row an encoder and test set, in the order given; `UserError` for a file that is no report, or two of one
    encoder."""
    columns = [Column("encoder", label=True), Column("clusters"), Column("test set", label=True)]
    columns += [Column(title) for _, title, _, _ in MEASURES]
    table = Table("units", "Discrete units by encoder", columns)
    seen: dict[str, Path] = {}
    for path in reports:
        name, clusters, splits = _read(path)
        if name in seen:
            raise UserError(f"{path}: same encoder as {seen[name]}: {name}", "give one report for each encoder")
        seen[name] = path
        table.rule()
        for split, measures in splits.items():
            table.add(name, str(clusters), split, *(_cell(path, measures, *measure) for measure in MEASURES))
    table.notes = [
        "PNMI: mutual information of phone and unit over the entropy of the phone. Phone purity: share of frames whose "
        "phone is the most frequent one of their unit; cluster purity: the reverse. All three need phone times, which "
        "only synthesized speech has; blank elsewhere.",
        "units/s counts units after deduplication (repeats collapsed); bits/s is their rate times the entropy of "
        "single units.",
    ]
    return table


def _read(path: Path) -> tuple[str, int, dict[str, dict]]:
    record = read_json(path)
    try:
        metadata, splits = record["kmeans"], record["splits"]
        layer = f", layer {metadata['layer']}" if metadata.get("layer") and metadata["encoder"] != "mfcc" else ""
        name, clusters = f"{metadata['encoder']}{layer}", int(record["clusters"])
        if not splits or not all(isinstance(measures, dict) for measures in splits.values()):
            raise ValueError("no splits")
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise UserError(
            f"{path}: not a report about units: {e!r}", "it is written by scripts/units_report.py"
        ) from None
    return name, clusters, splits


def _cell(path: Path, measures: dict, name: str, title: str, factor: float, digits: int) -> Cell:
    value = measures.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise UserError(f"{path}: {name} is {value!r}, not a number")
    return Number(float(value) * factor, digits=digits)
