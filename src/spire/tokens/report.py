"""What is in tokenized corpora or a mixture, and how much of packed rows stays empty.

Guarantee: numbers are counted from the documents' table, not estimated; only hours of speech of unknown duration are
worked out from units, and said to be. Packing is the one that training does (spire.tokens.rows).
"""

from __future__ import annotations

import numpy as np

from spire.tokens.mix import Selection
from spire.tokens.rows import LOOKAHEAD, Packer
from spire.training.data import order

# Deduplicated units of an hour of speech: 645M for 5.1K hours (papers 1.2).
UNITS_PER_HOUR = 126_000


def statistics(selection: Selection) -> dict:
    """{"documents", "tokens", "longest", "blocks": {name: ...}, "corpora": {name: ...}}; each of the latter two with
    documents, tokens, share (of tokens), units, hours (of known durations), hours_from_units (of the rest).
    """
    out = {
        "documents": len(selection),
        "tokens": selection.tokens,
        "longest": int(selection.lengths.max()),
        "digest": selection.digest,
    }
    units, seconds = selection.column("units"), selection.column("seconds")
    for key, numbers in (("blocks", selection.block_of), ("corpora", selection.corpus_of)):
        names = getattr(selection, key)
        out[key] = {
            name: _part(selection, units, seconds, np.flatnonzero(numbers == i)) for i, name in enumerate(names)
        }
        out[key] = {name: part for name, part in out[key].items() if part["documents"]}
    return out


def _part(selection: Selection, units: np.ndarray, seconds: np.ndarray, of: np.ndarray) -> dict:
    tokens = int(selection.lengths[of].sum(dtype=np.int64))
    unknown = int(units[of][seconds[of] == 0].sum(dtype=np.int64))
    return {
        "documents": len(of),
        "tokens": tokens,
        "share": round(tokens / selection.tokens, 4),
        "units": int(units[of].sum(dtype=np.int64)),
        "hours": round(float(seconds[of].sum(dtype=np.float64)) / 3600, 2),
        "hours_from_units": round(unknown / UNITS_PER_HOUR, 2),
    }


def waste(selection: Selection, length: int, rows: int, updates: int, seed: int) -> dict:
    """Packing of the first `updates` updates (at most an epoch) of `rows` rows of `length` tokens.

    {"updates", "rows", "empty" (share of the rows' tokens that no document has), "padded" (the same for one document a
    row), "split" (documents that cutting at every row's end would split, as a share)}.
    """
    lengths = selection.lengths
    sequence = order(selection, seed, 0)
    position = 0

    def draw() -> tuple[int, int, int]:
        nonlocal position
        document = int(sequence[position % len(sequence)])
        position += 1
        return document, int(lengths[document]), 0

    packer, used, packed = Packer(length, rows, min(LOOKAHEAD, len(lengths) // 16)), 0, 0
    updates = max(1, min(updates, selection.tokens // (length * rows)))
    for _ in range(updates):
        for row in packer.update(draw):
            used += sum(size for _, size, _ in row)
            packed += len(row)
    ends = np.cumsum(lengths[sequence[: min(packed, len(sequence))]], dtype=np.int64)
    starts = ends - lengths[sequence[: len(ends)]]
    return {
        "updates": updates,
        "rows": updates * rows,
        "empty": round(1 - used / (updates * rows * length), 5),
        "padded": round(1 - used / (packed * length), 4),
        "split": round(float((starts // length != (ends - 1) // length).mean()), 4),
    }


def lines(report: dict) -> list[str]:
    """The report as text: a table of blocks, one of corpora, and the packing."""
    out = [f"{report['documents']:,} documents, {report['tokens']:,} tokens, the longest {report['longest']:,}"]
    for key in ("blocks", "corpora"):
        head = (key, "documents", "tokens", "share", "hours")
        table = [head]
        for name, part in report[key].items():
            hours = f"{part['hours']:,.1f}" if part["hours"] else ""
            if part["hours_from_units"]:
                hours += f"{' + ' if hours else ''}about {part['hours_from_units']:,.1f}"
            table.append(
                (name, f"{part['documents']:,}", f"{part['tokens']:,}", f"{part['share']:.1%}", hours or "none")
            )
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        out.append("")
        for row in table:
            cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            out.append("  ".join(cells))
    if "packing" in report:
        p = report["packing"]
        out += [
            "",
            f"{p['rows']:,} rows of {p['length']:,} tokens: {p['empty']:.2%} empty",
            f"one document a row: {p['padded']:.1%} empty; cut at every row's end: {p['split']:.1%} of documents split",
        ]
    return out
