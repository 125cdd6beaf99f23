"""Vocabularies that are a tokenizer.json alone, without a SentencePiece model (Llama 3, Qwen, OLMo, ...).

Guarantees: as `spire.vocabulary.tokenizer.Vocabulary`: the ids of the base keep their meaning, units, specials and chat
marks are always single ids, and the directories that `save` writes are what transformers and vLLM load. New types are
added tokens after the last id of the base (spec: SpireLM 9, "plain add_tokens").

Needs the package `tokenizers`, which comes with transformers.
"""

from __future__ import annotations

import json
from pathlib import Path

from spire.errors import UserError
from spire.files import replaced_file
from spire.vocabulary.fast import opening
from spire.vocabulary.layout import LAYOUT_FILE, Layout, Numbers
from spire.vocabulary.tokenizer_config import (
    CLASS,
    CONFIG_FILE,
    IM_END,
    IM_START,
    TOKENIZER_FILE,
    chat_settings,
    json_bytes,
)

_OF_THE_CLASS = ("added_tokens_decoder", "auto_map", "add_bos_token", "add_eos_token")


class PlainVocabulary(Numbers):
    """A tokenizer.json (`content`), its tokenizer_config.json (`config`), and the layout.

    Where the base has no token that opens a text (Qwen), `bos` is its end of text, which then separates documents.
    """

    def __init__(self, content: dict, config: dict, layout: Layout | None = None):
        try:
            from tokenizers import Tokenizer
        except ImportError as e:
            raise UserError("this vocabulary is a tokenizer.json", hint="pip install tokenizers") from e
        self.content, self.config = content, config
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(content))
        except Exception as e:  # the library raises bare Exception
            raise UserError(f"{TOKENIZER_FILE} cannot be read: {e}", hint="is it a tokenizer of transformers?") from e
        used = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.layout = layout or Layout(base=used)
        if self.layout.size != used:
            raise UserError(
                f"{LAYOUT_FILE} describes {self.layout.size} ids, but {TOKENIZER_FILE} has {used}",
                hint="the two files belong to different models; make the directory again with vocabulary_extend.py",
            )
        for token in content.get("added_tokens", []):
            if self._tokenizer.token_to_id(token["content"]) != token["id"]:
                raise UserError(
                    f"{TOKENIZER_FILE}: {token['content']!r} has id {token['id']}, which leaves ids without a token",
                    hint="renumber the added tokens of the base so that they follow its last id",
                )

    @classmethod
    def load(cls, folder: str | Path) -> PlainVocabulary:
        """Read a directory with tokenizer.json and, if it is there, tokenizer_config.json. UserError if malformed."""
        folder = Path(folder)
        config = _read(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
        return cls(_read(folder / TOKENIZER_FILE), config, Layout.read(folder))

    def extended(self, specials: list[str], types: list[str], marks: list[str], layout: Layout) -> PlainVocabulary:
        """The vocabulary with new added tokens, in this order. UserError for one that is there already or given twice.

        Marks are special (they vanish from decoded text), the others are not, as published. Its tokenizer.json opens
        every text with `bos`, as training does, also where the base's opened it with nothing.
        """
        known = self._tokenizer.get_vocab(with_added_tokens=True)
        added = list(self.content.get("added_tokens", []))
        for number, text in enumerate([*specials, *types, *marks], self.layout.size):
            if text in known:
                raise UserError(f"{text!r} is in the tokenizer already, or given twice", hint="extend the base model")
            known[text] = number
            plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            added.append({"id": number, "content": text, **plain, "special": text in marks})
        content = {**self.content, "added_tokens": added}
        if self._tokenizer.encode("a").ids != self.encode("a", bos=True):
            content["post_processor"] = opening(self.piece(self.bos), self.bos)
        return PlainVocabulary(content, self.config, layout)

    def save(self, directory: str | Path, eos: int | None = None) -> None:
        """Write tokenizer.json, tokenizer_config.json and `spire_vocabulary.json` into an existing directory.

        `eos` as in `Vocabulary.save`: with `im_end` the chat template is ours, otherwise there is none.
        """
        eos = self.eos if eos is None else eos
        # tokenizer.json says it all: another class would put rules of its own in the place of what is read there.
        config = {
            k: v for k, v in self.config.items() if k not in (*chat_settings(), "added_tokens_decoder", "auto_map")
        }
        tokens = {"bos_token": self.bos, "eos_token": eos, "pad_token": self.pad}
        config |= {"tokenizer_class": CLASS} | {name: self.piece(i) for name, i in tokens.items()}
        if eos == self.im_end:
            config |= chat_settings()
        files = {TOKENIZER_FILE: self.content, CONFIG_FILE: config, LAYOUT_FILE: self.layout.to_json()}
        for name, value in files.items():
            with replaced_file(Path(directory) / name) as partial:
                partial.write_bytes(json_bytes(value))

    # ---- numbers

    @property
    def bos(self) -> int:
        number = self._named("bos_token")
        return self.eos if number is None else number

    @property
    def eos(self) -> int:
        """The base's end of text: UserError when tokenizer_config.json names none."""
        number = self._named("eos_token" if self._named("eos_token") != self.im_end else "pad_token")
        if number is None:
            raise UserError(f"{CONFIG_FILE} names no eos_token of {TOKENIZER_FILE}", hint='add "eos_token": "..."')
        return number

    @property
    def pad(self) -> int:
        """Equal to `eos`, as published."""
        return self.eos

    @property
    def im_end(self) -> int | None:
        return self._tokenizer.token_to_id(IM_END)

    @property
    def im_start(self) -> int | None:
        return self._tokenizer.token_to_id(IM_START)

    @property
    def newline(self) -> int:
        """The id that a line break alone has."""
        return self.encode("\n")[-1]

    def piece(self, token: int) -> str:
        """The text of one id, in the tokenizer's own spelling (`<pad_i>` for rows of padding)."""
        return self._tokenizer.id_to_token(token) or f"<pad_{token}>"

    # ---- text

    def known(self) -> set[str]:
        """Every token's text, in the tokenizer's own spelling."""
        return set(self._tokenizer.get_vocab(with_added_tokens=True))

    def encode(self, text: str, bos: bool = False) -> list[int]:
        """Ids of `text`; `bos` puts that token before them."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [self.bos, *ids] if bos else ids

    def decode(self, ids: list[int], skip_special: bool = True) -> str:
        """Text of `ids`; rows of padding vanish."""
        return self._tokenizer.decode([int(i) for i in ids if i < self.size], skip_special_tokens=skip_special)

    def _named(self, key: str) -> int | None:
        token = self.config.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        return None if text is None else self._tokenizer.token_to_id(text)


def _read(path: Path) -> dict:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise UserError(f"{path}: cannot be read: {e}", hint="expected a Hugging Face model directory") from e
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object", hint="expected a Hugging Face model directory")
    return value
