"""Word error rate by model, laid out like SPIRE's Table 4, and by voice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spire.errors import UserError
from spire.tables import notes
from spire.tables.book import Book
from spire.tables.layout import Column, Number, Table
from spire.tables.published import Published
from spire.textfiles import read_json

PAIR = "en-en"
INPUTS = {"asr": "its own audio", "shuffled": "other audio"}


def asr_table(book: Book, published: Published) -> Table:
    """Models by test sets; `UserError` when no transcript was scored."""
    sets = book.test_sets(table="asr", metric="wer", language_pair=PAIR)
    if not sets:
        raise UserError(
            "no score of a transcript (asr.<test_set>.en-en.wer.json) in any folder",
            "score a model that was asked for asr",
        )
    theirs = published.columns.get("asr", [])
    columns = [Column("model", label=True), Column("units of", label=True)]
    columns += [Column(name, "WER %") for name in sets] + [Column(title, "published") for _, title in theirs]
    table = Table("asr", "Speech recognition: word error rate in percent, lower is better (SPIRE, Table 4)", columns)
    for mode, source in INPUTS.items():
        table.rule()
        for model in published.order(book.models(mode=mode, metric="wer", language_pair=PAIR)):
            ours = [book.number(model, mode, name, PAIR, "wer") for name in sets]
            table.add(published.label(model), source, *ours, *published.cells("asr", model, mode, "wer"))
    table.rule()
    for system, mode in published.systems("asr", "wer"):
        table.add(
            f"{system} (published)", INPUTS[mode], *[None] * len(sets), *published.cells("asr", system, mode, "wer")
        )
    table.notes = [
        "Rows with other audio are a control: the model hears another utterance of the set, so a low rate would mean "
        "guessing.",
        notes.SYNTHETIC,
        notes.INTERVAL,
        *notes.signatures(book.select(metric="wer")),
        *published.source_notes("asr"),
    ]
    return table


def voice_table(folders: Sequence[Path], published: Published, file_name: str = "by_speaker.json") -> Table:
    """Recognition by voice: one row a test set and voice, one column a model; no rows when no folder says who
    speaks."""
    found: dict[str, dict[tuple[str, str], Number]] = {}
    for folder in folders:
        path = Path(folder) / file_name
        if not path.exists():
            continue
        record = read_json(path)
        try:
            for stem, voices in record["cells"].items():
                mode, test_set, pair = stem.split(".")
                if (mode, pair) != ("asr", PAIR):
                    continue
                for voice, score in voices.items():
                    found.setdefault(record["model"], {})[test_set, voice] = Number(
                        float(score["wer"]), n=int(score["n"])
                    )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise UserError(f"{path}: not scores by speaker: {e}", "it is written by scripts/score_all.py") from None
    models = published.order(list(found))
    columns = [Column("test set", label=True), Column("voice", label=True), Column("n")]
    columns += [Column(published.label(model), "WER %") for model in models]
    table = Table("asr_by_voice", "Speech recognition by voice: word error rate in percent", columns)
    keys = {key for numbers in found.values() for key in numbers}
    sets = [name for name in ("seen", "unseen", "human") if any(key[0] == name for key in keys)]
    sets += sorted({name for name, _ in keys} - set(sets))
    for name in sets:
        table.rule()
        for key in sorted(key for key in keys if key[0] == name):
            numbers = [found[model].get(key) for model in models]
            n = next(number.n for number in numbers if number)
            table.add(name, key[1], str(n), *(Number(number.value) if number else None for number in numbers))
    table.notes = ["n counts sentences; with few of them a rate is rough. Intervals: see the table of whole test sets."]
    return table
