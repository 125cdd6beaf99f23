"""tokenizer.json: the SentencePiece vocabulary in the form that `transformers` and vLLM read.

Guarantees: for every text the ids are those of `spire.vocabulary.tokenizer.Vocabulary`, which are those of the
published slow tokenizer (spec: SpireLM 9; tests compare them on the goldens and on random text). Nothing but the
standard library is imported, and the same model gives the same bytes.

The published fast tokenizer differs from its slow one where `<CLS>` and its like stand beside spaces, because it cuts
the text at them before it marks spaces. Here, as in SentencePiece, they are cut out afterwards: by a pre-tokenizer.

One tie is broken otherwise: where two ways to merge three neighbours give the same piece (`ab a ba`, both `aba`),
SentencePiece takes the left one and `tokenizers` the one listed first.
"""

from __future__ import annotations

import re

from spire.vocabulary.proto import BYTE, NORMAL, UNKNOWN, USER_DEFINED, Piece, normalization, read_pieces

SPACE = "▁"
# A word between two symbols that reads like the name of a byte piece is text: cut, it cannot be looked up as a whole.
BYTE_NAME = r"\A<(?=0x[0-9A-F]{2}>\z)"


def tokenizer_json(model: bytes, marks: list[str], outside: dict[str, int], bos: tuple[str, int]) -> dict | None:
    """The content of tokenizer.json; None for a model whose rules it cannot state exactly (no BPE, or a character map).

    `marks` follow the pieces of the model in id order; `outside` (text -> id) are recognized in text before anything
    else (`marks`, `<s>`, `</s>`, `<unk>`); `bos` (text, id) opens every text unless special tokens are declined.
    """
    rules, pieces = normalization(model), read_pieces(model)
    if not (rules.bpe and rules.plain):
        return None
    vocab = {p.text: i for i, p in enumerate(pieces)}
    if len(vocab) != len(pieces):
        return None
    vocab |= {text: len(pieces) + i for i, text in enumerate(marks)}
    symbols = [p.text for p in pieces if p.type == USER_DEFINED]
    prefix = [{"type": "Prepend", "prepend": SPACE}] if rules.prefix else []
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(text, i) for text, i in sorted(outside.items(), key=lambda item: item[1])],
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, spaces]},
        "pre_tokenizer": _isolate([longest_of(symbols), BYTE_NAME]) if symbols else None,
        "post_processor": opening(*bos),
        "decoder": _decoder(rules.prefix),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": next((p.text for p in pieces if p.type == UNKNOWN), None),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(p.type == BYTE for p in pieces),
            # A symbol cut out by the pre-tokenizer is a piece that no merges make.
            "ignore_merges": bool(symbols),
            "vocab": vocab,
            "merges": [list(pair) for pair in merges(pieces)],
        },
    }


def opening(text: str, number: int) -> dict:
    """The post-processor that puts one token, and nothing else, before every text."""
    begin = {"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"SpecialToken": {"id": text, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [*begin],
        "pair": [*begin, *second],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]}},
    }


def merges(pieces: list[Piece]) -> list[tuple[str, str]]:
    """Every pair of pieces that together make a piece, in the order SentencePiece prefers them (by score of the whole,
    highest first)."""
    normal = {p.text: i for i, p in enumerate(pieces) if p.type == NORMAL}
    pairs: list[tuple[str, str]] = []
    for text in sorted(normal, key=lambda t: (-pieces[normal[t]].score, normal[t])):
        halves = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
        pairs += sorted((h for h in halves if h[0] in normal and h[1] in normal), key=lambda h: normal[h[0]])
    return pairs


def _added(text: str, number: int) -> dict:
    fixed = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": text, **fixed}


def _isolate(patterns: list[str]) -> dict:
    kind = {"type": "Split", "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [kind | {"pattern": {"Regex": pattern}} for pattern in patterns]}


def _decoder(prefix: bool) -> dict:
    steps: list[dict] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def longest_of(words: list[str]) -> str:
    """A regular expression that matches the longest of `words` at a place; common beginnings are tried once, so that
    thousands of `<extra_id_N>` cost no more than a few.

    >>> longest_of(["ab", "a", "cd"])
    '(?:a(?:b)?|cd)'
    """
    tree: dict = {}
    for word in words:
        node = tree
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _pattern(tree)


def _pattern(node: dict) -> str:
    branches = []
    for character, below in sorted(node.items()):
        if not character:
            continue
        text = re.escape(character)
        while len(below) == 1 and "" not in below:
            ((character, below),) = below.items()
            text += re.escape(character)
        branches.append(text + (_pattern(below) if below.keys() - {""} else ""))
    return f"(?:{'|'.join(branches)})" + ("?" if "" in node else "")
