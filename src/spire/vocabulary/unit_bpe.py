"""Learn merged units: pieces that stand for several units in a row, for shorter speech prompts.

Guarantees: the same lines and count give the same pieces; every piece is made of two pieces before it or single units,
so an extended model (`--new-types`) can always reach it. Only private-use characters are units; lines of another form
are refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from spire.errors import UserError
from spire.files import replaced_file
from spire.vocabulary.layout import PUA_FIRST
from spire.vocabulary.proto import NORMAL, read_pieces

MAX_LINE = 1 << 24  # bytes; SentencePiece leaves out longer ones
MAX_PIECE = 16  # units


def unit_lines(paths: Iterable[str | Path]) -> Iterator[str]:
    """The lines of NAME.units files that are not empty. UserError for one that holds other characters."""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip("\r\n")
                if any(ord(c) < PUA_FIRST for c in line):
                    raise UserError(
                        f"{path}:{number}: not a line of units as characters",
                        hint="label with units_label.py --form pua",
                    )
                if line:
                    yield line


def learn(lines: Iterable[str], merges: int) -> list[str]:
    """At most `merges` pieces of 2 to 16 units, most useful first (byte-pair encoding by SentencePiece)."""
    lines = list(lines)
    if not lines:
        raise UserError("there are no units to learn from", hint="give files with lines")
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        model_type="bpe",
        vocab_size=3 + len(set("".join(lines))) + merges,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_by_unicode_script=False,
        max_sentence_length=MAX_LINE,
        max_sentencepiece_length=MAX_PIECE,
        shuffle_input_sentence=False,
        num_threads=1,
        minloglevel=2,
    )
    return [p.text for p in read_pieces(out.getvalue()) if p.type == NORMAL and len(p.text) > 1][:merges]


def write_pieces(pieces: list[str], path: str | Path) -> None:
    """One `piece TAB its units as numbers` a line, the file that `--new-types` reads; atomic."""
    with replaced_file(path) as partial:
        lines = (f"{p}\t{' '.join(str(ord(c) - PUA_FIRST) for c in p)}\n" for p in pieces)
        partial.write_text("".join(lines), "utf-8", newline="\n")
