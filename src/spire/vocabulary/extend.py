"""Extend a vocabulary by the five specials, one type per speech unit, other new types, and two chat marks.

Guarantees: the ids of the base keep their meaning (the bytes of a SentencePiece model are kept as they are), and the
new pieces, their types, scores and order are those of the published extension (spec: SpireLM 9): `<CLS> <EOD> <MASK>
<PAD> <SEP>` as user-defined symbols, then unit i as the normal piece chr(0xF0000 + i). `<|im_end|>` and `<|im_start|>`
follow outside SentencePiece. Units written `<extra_id_i>` are user-defined symbols, because no merges would make them.

`trainer_spec.vocab_size` keeps the base size, as published: SentencePiece counts pieces and does not read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file
from spire.vocabulary.layout import PUA_FIRST, Layout
from spire.vocabulary.plain import PlainVocabulary
from spire.vocabulary.proto import NORMAL, USER_DEFINED, Piece, append_pieces, read_pieces
from spire.vocabulary.tokenizer import Vocabulary
from spire.vocabulary.tokenizer_config import IM_END, IM_START

SPECIALS = ("<CLS>", "<EOD>", "<MASK>", "<PAD>", "<SEP>")
MARKS = (IM_END, IM_START)
MAX_UNITS = 65534  # plane 15 ends with two code points that are no characters
FORMS = ("pua", "extra_id")
VARIANTS = ("both", "base", "instruct")
_EXTRA_ID = re.compile(r"<extra_id_\d+>")


@dataclass(frozen=True)
class Extension:
    """What to add to a vocabulary.

    Attributes: units (how many), types (other new types, after the units), form ("pua" or "extra_id"), scoring ("bpe"
    or "none", of SentencePiece pieces), variant ("base": no chat marks, texts end with `</s>`; "instruct": chat marks,
    answers end with `<|im_end|>`, and the chat template; "both": chat marks, but texts end with `</s>`, so that ids
    stay the same from continued pretraining to instruction tuning), units_of (see `Layout`).
    """

    units: int = 0
    types: list[str] = field(default_factory=list)
    form: str = "pua"
    scoring: str = "bpe"
    variant: str = "both"
    units_of: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for what, value, known in (("form", self.form, FORMS), ("variant", self.variant, VARIANTS)):
            if value not in known:
                raise UserError(f"unknown {what} {value!r}", hint="one of " + ", ".join(known))

    @property
    def marks(self) -> list[str]:
        return [] if self.variant == "base" else list(MARKS)


def extend_vocabulary(old: Vocabulary | PlainVocabulary, extension: Extension) -> Vocabulary | PlainVocabulary:
    """The vocabulary with all that is new. UserError when it is extended already, or a type is given twice."""
    if old.layout.specials or old.layout.instruct:
        raise UserError("the vocabulary is extended already", hint="give the one it was extended from")
    units = unit_pieces(extension.units, extension.form)
    wanted = [*units, *extension.types]
    known = old.known()
    if clash := [u for u in units if u in known]:
        raise UserError(
            f"the base already has {clash[0]!r}, so the units' ids could not follow each other",
            hint="write units in the other form: --form pua or --form extra_id",
        )
    if isinstance(old, PlainVocabulary):
        types = [t for t in wanted if t not in known]
        marks = [m for m in extension.marks if m not in known]
        added = [Piece(t, 0.0) for t in (*SPECIALS, *types)]
        layout = extended_layout(old.size, added, marks, extension.form, extension.units_of)
        return old.extended(list(SPECIALS), types, marks, layout)
    model, added = extend_model(old.model, wanted, scoring=extension.scoring)
    return Vocabulary(model, extended_layout(old.size, added, extension.marks, extension.form, extension.units_of))


def unit_pieces(units: int, form: str = "pua") -> list[str]:
    """The types of `units` units: private-use characters, or `<extra_id_i>`. Raises UserError outside 0..65534."""
    if not 0 <= units <= MAX_UNITS:
        raise UserError(f"{units} units do not fit: one private-use plane holds 0 to {MAX_UNITS}")
    return [_unit(i, form) for i in range(units)]


def _unit(i: int, form: str) -> str:
    return f"<extra_id_{i}>" if form == "extra_id" else chr(PUA_FIRST + i)


def read_types(path: str | Path) -> list[str]:
    """New pieces from a file: the first tab-separated field of each line, empty lines skipped, duplicates kept."""
    lines = Path(path).read_text("utf-8").split("\n")
    return [t for t in (line.rstrip("\r").split("\t")[0] for line in lines) if t]


def extend_model(
    model: bytes, types: list[str], specials: tuple[str, ...] = SPECIALS, scoring: str = "bpe"
) -> tuple[bytes, list[Piece]]:
    """(extended model, pieces added). `scoring` "bpe": scores go on downward by 1 from the last piece's; "none": 0.

    `types` that the model (or the specials) already has are skipped. Raises UserError for a special that is already
    there, or a type given twice: SentencePiece cannot load such a model.
    """
    if scoring not in ("bpe", "none"):
        raise UserError(f"unknown scoring {scoring!r}", hint='use "bpe" or "none"')
    base = read_pieces(model)
    if not base:
        raise UserError("not a SentencePiece model: it has no pieces")
    known = {p.text for p in base}
    clash = [s for s in specials if s in known]
    if clash:
        raise UserError(
            f"the model already has {' '.join(clash)}: it seems to be extended already",
            hint="extend the base model instead",
        )
    known.update(specials)
    fresh = [(s, USER_DEFINED) for s in specials] + [(t, _kind(t)) for t in types if t not in known]
    seen: set[str] = set()
    for text, _ in fresh:
        if text in seen:
            raise UserError(f"new piece {text!r} is given twice", hint="remove the duplicate from the list of types")
        seen.add(text)
    step = -1.0 if scoring == "bpe" else 0.0
    start = base[-1].score if scoring == "bpe" else 0.0
    added = [Piece(text, start + step * (i + 1), kind) for i, (text, kind) in enumerate(fresh)]
    return append_pieces(model, added), added


def _kind(text: str) -> int:
    return USER_DEFINED if _EXTRA_ID.fullmatch(text) else NORMAL


def extended_layout(
    base: int,
    added: list[Piece],
    marks: list[str] | tuple[str, ...] = MARKS,
    form: str = "pua",
    units_of: dict[str, str] | None = None,
) -> Layout:
    """The layout of a vocabulary of `base` ids followed by `added`, specials first, and `marks`.

    Units are the types `unit_pieces` of a form directly after the specials, merged units those after them that are made
    of private-use characters; other new types come last.
    """
    texts = [p.text for p in added[len(SPECIALS) :]]
    units = 0
    while units < min(len(texts), MAX_UNITS) and texts[units] == _unit(units, form):
        units += 1
    merged = 0
    while units + merged < len(texts) and _of_units(texts[units + merged], units):
        merged += 1
    size = base + len(SPECIALS) + len(texts) + len(marks)
    return Layout(
        base=base,
        specials=list(SPECIALS),
        units=units,
        instruct=list(marks),
        size=size,
        form=form if units else "pua",
        merged=merged,
        units_of=units_of,
    )


def _of_units(text: str, units: int) -> bool:
    return len(text) > 1 and all(PUA_FIRST <= ord(c) < PUA_FIRST + units for c in text)


def write_vocabulary_listing(model: bytes, path: str | Path) -> None:
    """The readable `.vocab` file beside a model: one `piece TAB int(score)` a line, in id order; atomic."""
    with replaced_file(path) as partial:
        text = "".join(f"{p.text}\t{int(p.score)}\n" for p in read_pieces(model))
        partial.write_text(text, "utf-8", newline="\n")
