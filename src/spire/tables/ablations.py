"""What each block of the recipe is worth: every variant beside the full model."""

from __future__ import annotations

from dataclasses import replace

from spire.errors import UserError
from spire.tables import notes
from spire.tables.asr import PAIR
from spire.tables.book import Book
from spire.tables.layout import Cell, Column, Number, Table
from spire.tables.published import Model, Published

FULL = "spire_full"
MT_PAIRS = ("en-de", "en-fr")
CONFOUNDS = (
    "Pseudo-labels (pseudo) are TowerBase's own translations of transcripts, kept by dual conditional cross-entropy: "
    "the probabilities of the translation given the transcript and of the transcript given the translation must both "
    "be high and agree.",
    "Every variant takes the same number of optimizer steps, so leaving a block out gives the remaining tasks a bigger "
    "share of the updates: a gain of SpireNoPseudo in recognition or text translation, or of SpireNoBlocks in speech "
    "translation, may be that share and nothing else.",
    "TowerFull skips continued pretraining and so sees fewer updates on speech than the others; its gap mixes the "
    "missing stage with the missing updates.",
    "One seed each: the intervals are over test sentences and say nothing about another training run.",
)


def ablations_table(book: Book, published: Published) -> Table:
    """Variants by recognition, direct speech translation and text translation, with differences from the full model.

    `UserError` when the full model itself was not scored: there is nothing to compare with.
    """
    st_pairs = {name: book.pairs(mode="st", test_set=name) for name in ("seen", "unseen")}
    measures = [
        ("WER % seen", lambda m: book.number(m, "asr", "seen", PAIR, "wer")),
        ("WER % unseen", lambda m: book.number(m, "asr", "unseen", PAIR, "wer")),
        ("WER % human", lambda m: book.number(m, "asr", "human", PAIR, "wer")),
        ("ST BLEU seen", lambda m: book.mean(m, "st", "seen", st_pairs["seen"], "bleu")),
        ("ST BLEU unseen", lambda m: book.mean(m, "st", "unseen", st_pairs["unseen"], "bleu")),
        ("MT BLEU", lambda m: book.mean(m, "mt", "test", MT_PAIRS, "bleu")),
    ]
    full = [measure(FULL) for _, measure in measures]
    if not any(full):
        raise UserError(f"no score of {FULL} in any folder", "the ablations compare every variant with it")
    columns = [Column(title, label=True) for title in ("model", "starts from", "pretraining", "tuning")]
    columns += [Column(title) for title, _ in measures]
    table = Table("ablations", "Ablations: what each block of the recipe is worth", columns)
    for model in published.order(book.models()):
        made = published.models.get(model, Model(model, "", "", ""))
        cells: list[Cell] = []
        for (_, measure), reference in zip(measures, full, strict=True):
            cells.append(_compared(measure(model), reference) if model != FULL else reference)
        table.add(made.label, made.starts_from, made.cpt, made.it, *cells)
    table.notes = [
        "In parentheses: difference from SpireFull. Lower is better for WER, higher for BLEU.",
        "Speech translation (ST) is direct, mean over language pairs; text translation (MT) is the mean of en-de and "
        "en-fr.",
        *CONFOUNDS,
        notes.SYNTHETIC,
        notes.INTERVAL,
        *notes.signatures(cell for cell in book if cell.metric in ("wer", "bleu")),
    ]
    return table


def _compared(number: Number | None, reference: Number | None) -> Number | None:
    if number is None or reference is None:
        return number
    return replace(number, delta=number.value - reference.value)
