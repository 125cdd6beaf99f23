"""How good the trained parts are by themselves: units, pitch, style, word times, recognition. No table of the paper."""

from __future__ import annotations

from spire.errors import UserError
from spire.tables.layout import Column, Number, Table
from spire.tables.published import Published
from spiritlm.tables.beside import INTERVAL
from spiritlm.tables.collected import Collected

TASKS = {
    "units": "phonetic units",
    "prosody": "pitch and style",
    "alignment": "word times",
    "asr": "recognition",
}
METRICS = {
    "pnmi": ("phone-normalized mutual information", 2),
    "unit_error": ("units changed by the augmentation, %", 1),
    "f0_error": ("F0 frame error %", 1),
    "accuracy": ("accuracy %", 1),
    "start_error_ms": ("error of word starts, ms", 1),
    "end_error_ms": ("error of word ends, ms", 1),
    "within_20_ms": ("ends within 20 ms, %", 1),
    "within_50_ms": ("ends within 50 ms, %", 1),
    "aligned": ("words aligned, %", 1),
    "wer": ("WER %", 1),
    "cer": ("CER %", 1),
}


def part_tables(found: Collected, published: Published, generated: bool) -> list[Table]:
    """One row a measure of the tasks in `TASKS`; `UserError` when there is none."""
    table = Table(
        "spirit_parts",
        "Trained parts by themselves, on the test speech",
        [Column("part", label=True), Column("of", label=True), Column("measured", label=True), Column("value")],
    )
    for task, title in TASKS.items():
        table.rule()
        for m in sorted(found.select(task=task), key=lambda m: (m.test_set, m.metric)):
            words, digits = METRICS.get(m.metric, (m.metric.replace("_", " "), 1))
            key = (m.model, m.task, m.test_set, m.direction, m.metric)
            table.add(
                title,
                m.test_set.replace("_", ", "),
                words,
                Number(m.value, m.ci_low, m.ci_high, m.n, digits=digits, cells=(key,)),
            )
    if not table.rows:
        raise UserError(f"no measure of the tasks {', '.join(TASKS)} in any folder", "run the plan spiritlm")
    table.notes = [
        INTERVAL,
        "linear: the CTC quantizer; kmeans: its teacher. Augmented recordings should keep the units of the clean ones.",
        "n counts utterances.",
    ]
    return [table]
