"""The letters of a CTC model: Hugging Face's vocab.json, texts to labels and labels to texts.

Guarantee: the ids are those of transformers' Wav2Vec2CTCTokenizer of the same folder. A vocabulary may hold small or
capital letters: words are brought to its case. What it does not know of a word is looked for without accents; a word
of which nothing is known (a number in digits, say) gets the star, which stands for any sound, so that its neighbours
can be aligned. UserError where a folder's files are missing or no such vocabulary.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.errors import UserError

ENGLISH = "'abcdefghijklmnopqrstuvwxyz"
_HINT = "a CTC model's folder holds vocab.json, as Wav2Vec2CTCTokenizer writes it"


@dataclass(frozen=True)
class Word:
    """A word as it stands in the text, and its labels; `star` in place of letters that are not known."""

    text: str
    labels: tuple[int, ...]


class Letters:
    """`ids` maps letters to classes 0..size-1; `blank` and `delimiter` are classes (delimiter None: there is none)."""

    def __init__(self, ids: dict[str, int], blank: int, delimiter: int | None, specials: Iterable[str] = ()):
        self.ids, self.blank, self.delimiter = ids, blank, delimiter
        self.size = max([blank, *ids.values()]) + 1
        unspoken = {blank, delimiter} | {ids[name] for name in specials if name in ids}
        self._letters = {name: i for name, i in ids.items() if len(name) == 1 and i not in unspoken}
        self._names = {i: name for name, i in self._letters.items()}
        if not self._letters:
            raise UserError("the vocabulary has no letters", _HINT)

    @classmethod
    def english(cls) -> Letters:
        """The apostrophe and a to z."""
        return cls.of(ENGLISH)

    @classmethod
    def of(cls, alphabet: str) -> Letters:
        """Blank 0, the delimiter `|` 1, then the letters given; UserError when one is there twice or is no letter."""
        if len(set(alphabet)) < len(alphabet) or "|" in alphabet or any(c.isspace() for c in alphabet):
            raise UserError(f"{alphabet!r} is no alphabet", "write each letter once, without blanks and '|'")
        return cls({name: i for i, name in enumerate(["<pad>", "|", *alphabet])}, 0, 1, ["<pad>"])

    @classmethod
    def read(cls, folder: str | Path, language: str | None = None) -> Letters:
        """From vocab.json and, where it is there, tokenizer_config.json; `language` where there are several (MMS)."""
        folder = Path(folder)
        ids = _object(folder / "vocab.json")
        if ids and all(isinstance(value, dict) for value in ids.values()):
            if language not in ids:
                listed = ", ".join(sorted(ids)[:8])
                raise UserError(f"{folder / 'vocab.json'}: no language {language!r}", f"give --language: {listed}")
            ids = ids[language]
        if not all(type(value) is int and value >= 0 for value in ids.values()) or len(set(ids.values())) < len(ids):
            raise UserError(f"{folder / 'vocab.json'}: does not map letters to different ids", _HINT)
        path = folder / "tokenizer_config.json"
        config = _object(path) if path.is_file() else {}
        names = {key: _name(config.get(key, value)) for key, value in _SPECIALS.items()}
        # Models that came from elsewhere than transformers (MMS) keep a blank of their own beside the padding.
        blank = ids.get("<blank>", ids.get(names["pad_token"] or ""))
        if blank is None:
            raise UserError(f"{folder / 'vocab.json'}: has no blank {names['pad_token']!r}", _HINT)
        delimiter = ids.get(names["word_delimiter_token"] or "")
        return cls(ids, blank, delimiter, [name for name in names.values() if name])

    def files(self) -> dict[str, str]:
        """vocab.json, tokenizer_config.json and special_tokens_map.json, for a model that was trained here."""
        blank = next(name for name, i in self.ids.items() if i == self.blank)
        delimiter = next((name for name, i in self.ids.items() if i == self.delimiter), None)
        special = {"pad_token": blank, "unk_token": blank, "bos_token": None, "eos_token": None}
        config = special | {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "word_delimiter_token": delimiter,
            "replace_word_delimiter_char": " ",
            "do_lower_case": False,
        }
        texts = {"vocab.json": self.ids, "tokenizer_config.json": config}
        texts["special_tokens_map.json"] = {key: value for key, value in special.items() if value}
        return {name: json.dumps(value, ensure_ascii=False, indent=1) + "\n" for name, value in texts.items()}

    @property
    def star(self) -> int:
        """The class behind the model's own that stands for any sound (see `with_star`)."""
        return self.size

    def words(self, text: str) -> list[Word]:
        """The words between blanks, each with its labels; a word that is not spoken (a dash) has none."""
        return [Word(word, self._labels(word)) for word in text.split()]

    def _labels(self, word: str) -> tuple[int, ...]:
        word = unicodedata.normalize("NFC", word)
        labels = tuple(i for character in word if (i := self._label(character)) is not None)
        if not labels and any(character.isalnum() for character in word):
            return (self.star,)
        return labels

    def _label(self, character: str) -> int | None:
        character = "'" if character == "\N{RIGHT SINGLE QUOTATION MARK}" else character
        plain = unicodedata.normalize("NFD", character)[:1]
        for form in (character, character.lower(), character.upper(), plain, plain.lower(), plain.upper()):
            if form in self._letters:
                return self._letters[form]
        return None

    def joined(self, words: Sequence[Word]) -> tuple[list[int], list[int]]:
        """(labels, word of each label or -1 for a delimiter): the words that have labels, delimiters between them."""
        labels: list[int] = []
        owners: list[int] = []
        for number, word in enumerate(words):
            if word.labels and labels and self.delimiter is not None:
                labels.append(self.delimiter)
                owners.append(-1)
            labels += word.labels
            owners += [number] * len(word.labels)
        return labels, owners

    def text(self, classes: Sequence[int]) -> str:
        """What a path of one class a frame says: repeats joined, blanks dropped, delimiters as single blanks."""
        spoken = [c for i, c in enumerate(classes) if c != self.blank and (i == 0 or classes[i - 1] != c)]
        text = "".join(" " if c == self.delimiter else self._names.get(c, "") for c in spoken)
        return " ".join(text.split())


_SPECIALS = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "word_delimiter_token": "|",
}


def with_star(log_probs: np.ndarray, blank: int) -> np.ndarray:
    """float32 [T, C] and one class more: log(1 - P(blank)), that anything at all is said."""
    star = np.log1p(-np.minimum(np.exp(log_probs[:, [blank]].astype(np.float64)), 1.0 - 1e-12))
    return np.concatenate([log_probs, star.astype(np.float32)], axis=1)


def _object(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path}: cannot be read: {e}", _HINT) from e
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object", _HINT)
    return content


def _name(token: object) -> str | None:
    """A token is written as text, or as an object with its content."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None
