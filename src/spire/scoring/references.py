"""Reference texts of every test set, by language, in the order of its manifest.

Manifests are read for their texts alone: scoring needs no audio and must not depend on code that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.textfiles import read_jsonl

TEXT_SET = "test"
"""Name of the test set that `--sentences` provides."""


@dataclass(frozen=True)
class TestSet:
    """References of one test set.

    Attributes:
        name: as in names of hypothesis files.
        path: where it was read, for messages.
        texts: one mapping a line, language code to reference.
        speakers: one name a line; empty for text.
    """

    __test__ = False  # pytest takes any class called Test* for a test

    name: str
    path: Path
    texts: tuple[Mapping[str, str], ...]
    speakers: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def references(self, language: str) -> list[str | None]:
        """The reference of each line, None where it is missing or blank in that language; `UserError` when no line has
        one."""
        found = [text if (text := texts.get(language)) and text.strip() else None for texts in self.texts]
        if all(text is None for text in found):
            known = sorted({code for texts in self.texts for code in texts})
            raise UserError(
                f"{self.path}: test set {self.name!r} has no reference in {language!r}",
                f"it has {', '.join(known) or 'no text at all'}; leave this cell out of the decoding jobs",
            )
        return found


def read_manifest_texts(name: str, path: Path) -> TestSet:
    """References from a speech manifest: `text` in the language `lang`, and `translations`."""
    texts, speakers = [], []
    for number, record in enumerate(read_jsonl(path), start=1):
        where = f"{path}:{number}"
        translations = record.get("translations") or {}
        if not isinstance(translations, dict):
            raise UserError(f"{where}: translations must map language codes to texts")
        line = {_text(where, "lang", record.get("lang")): _text(where, "text", record.get("text"))}
        line.update({code: _text(where, f"translations.{code}", text) for code, text in translations.items()})
        texts.append(line)
        speakers.append(str(record.get("speaker", "")))
    return TestSet(name, Path(path), tuple(texts), tuple(speakers))


def read_sentence_texts(path: Path) -> TestSet:
    """References from generated sentences: every field named like a language code, but `id`, is a text."""
    texts = []
    for number, record in enumerate(read_jsonl(path), start=1):
        codes = [field for field in record if re.fullmatch(r"[a-z]{2,3}", field) and field != "id"]
        texts.append({code: _text(f"{path}:{number}", code, record[code]) for code in codes})
    return TestSet(TEXT_SET, Path(path), tuple(texts))


def read_test_sets(manifests: Mapping[str, Path], sentences: Path | None) -> dict[str, TestSet]:
    """All test sets by name; `UserError` for an empty one or a manifest that is called like the text set."""
    sets = {name: read_manifest_texts(name, path) for name, path in manifests.items()}
    if sentences is not None:
        if TEXT_SET in sets:
            raise UserError(
                f"--manifest {TEXT_SET}=...: the name belongs to --sentences", "give the manifest another name"
            )
        sets[TEXT_SET] = read_sentence_texts(sentences)
    for test_set in sets.values():
        if not len(test_set):
            raise UserError(f"{test_set.path}: no lines, nothing to score against")
    return sets


def _text(where: str, field: str, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {field} is {value!r}, expected text")
    return value
