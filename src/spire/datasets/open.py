"""What stands for a corpus on a command line, and the corpus behind it.

corpus.jsonl              a manifest
corpus.tsv                a list: root folder, then path TAB samples
corpus.yml                a dataset description in SPIRE's format (spire.datasets.description)
folder/                   saved by `datasets` (dataset_dict.json or state.json in it), tar archives, or audio files
'shards/*.tar'            tar archives
'shards/{000..127}.tar'   the same, named by numbers
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from spire.datasets.corpus import Corpus
from spire.datasets.description import Description, read_description
from spire.datasets.local import FolderCorpus, ManifestCorpus, TarCorpus, TsvCorpus
from spire.errors import UserError

_NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
_FORMS = "a .jsonl manifest, a .tsv list, a .yml description, a folder, or tar archives ('shards/*.tar')"


def open_corpus(spec: str | Path) -> Corpus:
    """The corpus that `spec` stands for; UserError when there is none."""
    text = str(spec)
    path = Path(text)
    ending = path.suffix.lower()
    if ending in (".yml", ".yaml"):
        return open_description(read_description(path))
    if ending == ".jsonl":
        return ManifestCorpus(path)
    if ending == ".tsv":
        return TsvCorpus(path)
    if path.is_dir():
        if is_saved(path):
            return open_description(Description(str(path)))
        archives = sorted(path.glob("*.tar"))
        return TarCorpus(archives) if archives else FolderCorpus(path)
    if ending == ".tar" or _NUMBERS.search(text) or any(mark in text for mark in "*?["):
        return TarCorpus(_archives(text))
    raise UserError(f"{text}: no such corpus", hint="a corpus is " + _FORMS)


def open_description(description: Description) -> Corpus:
    """The corpus of a dataset description: of a local form if its path is one, else by the `datasets` library."""
    path = Path(description.path)
    local = path.suffix.lower() in (".tsv", ".jsonl", ".tar") or (path.is_dir() and not is_saved(path))
    if local:
        given = [key for key in ("config", "split", "filter_mic") if getattr(description, key)]
        given += list(description.arguments)
        if given:
            hint = "these keys are for datasets of a hub and saved ones; remove them"
            raise UserError(f"{description.path}: {', '.join(given)} given for a local corpus", hint)
        return open_corpus(path)
    from spire.datasets.huggingface import HuggingFaceCorpus

    return HuggingFaceCorpus(description)


def is_saved(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of the `datasets` library."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def named_corpora(items: Iterable[str], option: str = "--corpus") -> dict[str, str]:
    """`NAME=CORPUS` arguments in order; UserError for another form, a repeated name, a name unfit for a file."""
    named: dict[str, str] = {}
    for item in items:
        name, equals, spec = item.partition("=")
        if not equals or not spec or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"{option} {item!r} is not NAME=PATH", hint="for example dev=dev/manifest.jsonl")
        if name in named:
            raise UserError(f"{option}: the name {name!r} is given twice", hint="each corpus needs its own name")
        named[name] = spec
    return named


def _archives(pattern: str) -> list[Path]:
    names = [pattern]
    while match := _NUMBERS.search(names[0]):
        first, last = int(match[1]), int(match[2])
        if not first <= last < first + 1_000_000:
            raise UserError(f"{pattern}: {match[0]} is no range", hint="for example {000..127}")
        width = len(match[1])
        names = [f"{n[: match.start()]}{k:0{width}d}{n[match.end() :]}" for n in names for k in range(first, last + 1)]
        # The first name has the fewest digits; a later one could move the next braces.
        if len({len(n) for n in names}) > 1 and _NUMBERS.search(names[0]):
            raise UserError(f"{pattern}: numbers of several lengths", hint="write {008..127}, not {8..127}")
    found = [path for name in names for path in (sorted(glob.glob(name)) if glob.has_magic(name) else [name])]
    if not found:
        raise UserError(f"{pattern}: no file has such a name", hint="a corpus is " + _FORMS)
    return [Path(path) for path in found]
