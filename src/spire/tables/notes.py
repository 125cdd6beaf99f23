"""Sentences below tables that depend on what was measured."""

from __future__ import annotations

from collections.abc import Iterable

from spire.scoring.cells import ScoreCell

INTERVAL = (
    "± is half the width of the 95 % percentile bootstrap interval over sentences; its ends are in the .csv. Means "
    "over language pairs have none."
)
SYNTHETIC = (
    "Test sets: seen and unseen are synthesized sentences of a generated grammar, spoken by voices that occur in "
    "training or do not; human is recorded telephone prompts by one speaker, outside the grammar."
)
COMET = "COMET-22 was not run: it needs an environment and a model download of its own."


def signatures(cells: Iterable[ScoreCell]) -> list[str]:
    """One sentence a metric: its signatures without the parts that differ by model, which stand in scores.csv in
    full."""
    shown = dict.fromkeys(
        "|".join(part for part in cell.signature.split("|") if not part.startswith(("decoding:", "model:", "skipped:")))
        for cell in sorted(cells, key=lambda cell: (cell.metric != "wer", cell.metric))
    )
    return [f"Signature: {text}." for text in shown]
