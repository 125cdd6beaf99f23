"""Train the base vocabulary: SentencePiece BPE with the conventions of Llama.

Guarantees: the same lines and size give the same bytes; ids 0, 1, 2 are `<unk>`, `<s>`, `</s>`; text is not normalized
(a line break and repeated spaces survive a round trip); with byte fallback every text does.

One departure from Llama, because a small vocabulary would otherwise spend many tokens on prompts: SYMBOLS, the words
that every prompt repeats, are user-defined symbols (one id each wherever they occur).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from spire.corpora.prompts import LANGUAGES
from spire.errors import UserError
from spire.textfiles import read_jsonl

MINI_LANGUAGES = ("en", "de", "fr", "es", "it", "ru")
SYMBOLS = ("Translate the following text from", *(LANGUAGES[c] for c in MINI_LANGUAGES), "Speech", "user", "assistant")
# Every prompt has these two, the mini corpus never.
PROMPT_CHARACTERS = ":."
TEXT_KEYS = ("text", *LANGUAGES)


def corpus_lines(paths: Iterable[str | Path]) -> Iterator[str]:
    """Every sentence of the files: fields `text` (mono) and language codes (parallel), in order."""
    for path in paths:
        for line in read_jsonl(path):
            for key in TEXT_KEYS:
                text = line.get(key)
                if isinstance(text, str) and text.strip():
                    yield text.strip()


def train_model(lines: Iterable[str], size: int, byte_fallback: bool = True, symbols: Iterable[str] = SYMBOLS) -> bytes:
    """A serialized SentencePiece model with exactly `size` pieces.

    Without byte fallback a line break is a user-defined symbol instead of the piece `<0x0A>`, and unknown characters
    become `<unk>`. Raises UserError when `size` is too small for the characters or too large for the text.
    """
    lines = list(lines)
    if not lines:
        raise UserError("there is no text to train a vocabulary on", hint="give --parallel or --mono a file with lines")
    symbols = [s.replace(" ", "▁") for s in symbols]
    if not byte_fallback:
        symbols.append("\n")
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=out,
            model_type="bpe",
            vocab_size=size,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            byte_fallback=byte_fallback,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            character_coverage=1.0,
            required_chars=PROMPT_CHARACTERS,
            user_defined_symbols=symbols,
            shuffle_input_sentence=False,
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as e:
        raise UserError(
            f"SentencePiece cannot make {size} pieces from {len(lines)} lines: {e}",
            hint=f"{'256 pieces are bytes and ' if byte_fallback else ''}{len(symbols)} are symbols; change --size",
        ) from e
    return out.getvalue()


def train_to_file(paths: Iterable[str | Path], size: int, out: str | Path, byte_fallback: bool = True) -> int:
    """Train on the files' sentences and write `out` atomically; returns the number of lines used."""
    lines = list(corpus_lines(paths))
    model = train_model(lines, size, byte_fallback)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{out}.tmp{os.getpid()}")
    temporary.write_bytes(model)
    os.replace(temporary, out)
    return len(lines)
