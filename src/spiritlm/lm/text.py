"""The text model that SpiRit-LM starts from, in the small study: its vocabulary and its corpus.

Guarantees: the same texts and size give the same bytes. A text's sentences stand on lines of their own, as in running
text, so the model knows words without a space before them, which is what follows a marker (`spiritlm.lm.vocabulary`);
the vocabulary is made so that words are found in both places.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl

BLOCK = "text"


def texts(paths: Iterable[Path]) -> Iterator[list[str]]:
    """The sentences of each text; a text that is not divided is one. UserError for a line without text."""
    for path in paths:
        for number, row in enumerate(read_jsonl(path), 1):
            sentences = row.get("sentences", [row.get("text")])
            if not sentences or not all(isinstance(s, str) and s.strip() for s in sentences):
                raise UserError(f"{path}: line {number} has no text", hint='{"text": ...} or {"sentences": [...]}')
            yield [s.strip() for s in sentences]


def corpus_lines(paths: Iterable[Path]) -> Iterator[dict]:
    """Lines for scripts/train_base.py."""
    for sentences in texts(paths):
        yield {"text": "\n".join(sentences), "block": BLOCK}


def train_vocabulary(paths: Iterable[Path], size: int) -> bytes:
    """A SentencePiece model (BPE, as Llama's) of `size` pieces. UserError: too small or too large for the text."""
    import sentencepiece

    out = io.BytesIO()

    def lines() -> Iterator[str]:
        for sentences in texts(paths):
            for sentence in sentences:
                yield sentence
                # U+2028 is no word's neighbour: behind it, words are met as they begin a text.
                yield "\u2028" + sentence.replace(" ", "\u2028")

    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines(),
            model_writer=out,
            model_type="bpe",
            vocab_size=size,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            character_coverage=1.0,
            required_chars=":.",
            user_defined_symbols=["\u2028"],
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as e:
        raise UserError(
            f"SentencePiece cannot make {size} pieces: {e}", hint="256 pieces are bytes; change --size"
        ) from e
    return out.getvalue()
