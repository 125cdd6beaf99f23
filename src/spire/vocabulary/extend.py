"""Extend a SentencePiece model by the five specials and one piece per speech unit.

Guarantees: the ids of the base model keep their meaning (its bytes are kept as they are), and the new pieces, their
types, scores and order are those of the published extension: `<CLS> <EOD> <MASK> <PAD> <SEP>` as user-defined symbols,
then unit i as the normal piece chr(0xF0000 + i). `<|im_end|>` and `<|im_start|>` follow outside SentencePiece.

`trainer_spec.vocab_size` keeps the base size, as published: SentencePiece counts pieces and does not read it.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from spire.errors import UserError
from spire.vocabulary.proto import NORMAL, USER_DEFINED, Piece, append_pieces, read_pieces
from spire.vocabulary.tokenizer import IM_END, IM_START, PUA_FIRST, Layout

SPECIALS = ("<CLS>", "<EOD>", "<MASK>", "<PAD>", "<SEP>")
MAX_UNITS = 65534  # plane 15 ends with two code points that are no characters


def unit_pieces(units: int) -> list[str]:
    """The private-use characters of `units` units. Raises UserError outside 0..65534."""
    if not 0 <= units <= MAX_UNITS:
        raise UserError(f"{units} units do not fit: one private-use plane holds 0 to {MAX_UNITS}")
    pieces = [chr(PUA_FIRST + i) for i in range(units)]
    assert all(unicodedata.category(c) == "Co" for c in pieces)
    return pieces


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
    fresh = [(s, USER_DEFINED) for s in specials] + [(t, NORMAL) for t in types if t not in known]
    seen: set[str] = set()
    for text, _ in fresh:
        if text in seen:
            raise UserError(f"new piece {text!r} is given twice", hint="remove the duplicate from the list of types")
        seen.add(text)
    step = -1.0 if scoring == "bpe" else 0.0
    start = base[-1].score if scoring == "bpe" else 0.0
    added = [Piece(text, start + step * (i + 1), kind) for i, (text, kind) in enumerate(fresh)]
    return append_pieces(model, added), added


def extended_layout(base: int, added: list[Piece], specials: tuple[str, ...] = SPECIALS) -> Layout:
    """The layout of a model of `base` pieces after `extend_model`.

    Units are the pieces chr(0xF0000), chr(0xF0001), ... directly after the specials; other new types come after them.
    """
    types = [p.text for p in added[len(specials) :]]
    units = 0
    while units < len(types) and types[units] == chr(PUA_FIRST + units):
        units += 1
    instruct = [IM_END, IM_START]
    size = base + len(added) + len(instruct)
    return Layout(base=base, specials=list(specials), units=units, instruct=instruct, size=size)


def write_vocabulary_listing(model: bytes, path: str | Path) -> None:
    """The readable `.vocab` file beside a model: one `piece TAB int(score)` a line, in id order; atomic."""
    text = "".join(f"{p.text}\t{int(p.score)}\n" for p in read_pieces(model))
    temporary = Path(f"{path}.tmp{os.getpid()}")
    temporary.write_text(text, "utf-8", newline="\n")
    os.replace(temporary, path)
