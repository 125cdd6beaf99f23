"""Which documents of tokenized corpora are trained on, and how often: a mixture by groups, in stated shares of tokens.

Guarantees: the tokens of each group are within one document of its share of the budget (as are those of each corpus,
but for the rounding of those before it); within a corpus every document is taken n times before any is taken n + 1
times; the choice follows from the stores' bytes and the settings alone. The stores themselves are not copied.

Shares (papers 1.4, 1.7): groups stand in the ratio given, as 5 speech to 1 text. Inside a group, a corpus of n tokens
gets a share proportional to n^alpha: alpha 1 as large as it is, 0 all alike, 1 / T for sampling at temperature T.

    mix.json         settings, stores (absolute path, digest), tokens of each corpus, digest; written last
    documents.npy    [n] uint32: numbers of documents, counted through the stores in their order
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import replaced_folder
from spire.textfiles import read_json, write_json
from spire.tokens.store import INDEX, TokenStore, digest_of

MIX, DOCUMENTS = "mix.json", "documents.npy"


@dataclass(frozen=True)
class Group:
    """Corpora that share a part of the budget. `share` is relative to those of the other groups."""

    name: str
    share: float
    stores: tuple[Path, ...]


@dataclass(frozen=True)
class Settings:
    """`tokens`: the budget (None: as many as there are without repeating a document); `passes`: how often a corpus may
    be repeated before that is an error; `blocks`: only documents of these (empty: all).
    """

    tokens: int | None = None
    alpha: float = 1.0
    passes: float = 4.0
    blocks: tuple[str, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise UserError(f"a budget of {self.tokens} tokens; at least 1 is needed")
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha {self.alpha} is not in [0, 1]", hint="1: in proportion to size; 0: all alike")


@dataclass
class _Corpus:
    group: str
    path: Path
    store: TokenStore
    allowed: np.ndarray
    tokens: int
    share: float = 0.0


def mix(groups: list[Group], out: str | Path, settings: Settings) -> dict:
    """Choose the documents and write `out`; returns what mix.json holds.

    Raises UserError when a store is unusable or named twice, a group has nothing to give, a share is not above 0, or
    the budget would repeat a corpus too often.
    """
    out = Path(out)
    corpora = _opened(groups, settings)
    _set_shares(groups, corpora, settings)
    budget = settings.tokens or int(min(c.tokens / c.share for c in corpora))
    for c in corpora:
        if budget * c.share > settings.passes * c.tokens + 1:
            raise UserError(
                f"{c.path}: {budget:,} tokens need {budget * c.share / c.tokens:.1f} passes over its {c.tokens:,}",
                hint=f"a smaller --tokens, another ratio or alpha, or --passes above {settings.passes:g}",
            )
    chosen, rows, first, due = [], [], 0, 0.0
    for c in corpora:
        due += budget * c.share
        ids = _draw(c, due, settings.seed)
        taken = int(c.store.lengths[ids].sum(dtype=np.int64))
        # What rounding gave too much or too little here is made up for by the next corpus.
        due -= taken
        chosen.append(ids + first)
        first += len(c.store)
        rows.append(
            {
                "group": c.group,
                "store": os.path.abspath(c.path),
                "name": c.store.index["name"],
                "digest": c.store.digest,
                "tokens": taken,
                "documents": len(ids),
                "passes": round(taken / c.tokens, 4),
                "share": c.share,
            }
        )
    if first >= 1 << 32:
        raise UserError(f"{first} documents; 4,294,967,295 are possible in one mixture")
    documents = np.concatenate(chosen).astype(np.uint32)
    record = {
        "version": 1,
        "settings": {
            "tokens": budget,
            "ratio": {g.name: g.share for g in groups},
            "alpha": settings.alpha,
            "blocks": sorted(settings.blocks),
            "seed": settings.seed,
        },
        "stores": rows,
        "tokens": sum(r["tokens"] for r in rows),
        "documents": len(documents),
    }
    content = [record["settings"], [r["digest"] for r in rows], hashlib.sha256(documents.tobytes()).hexdigest()]
    record["digest"] = digest_of(content)
    with replaced_folder(out) as folder:
        np.save(folder / DOCUMENTS, documents)
        write_json(folder / MIX, record)
    return record


def _opened(groups: list[Group], settings: Settings) -> list[_Corpus]:
    corpora, seen = [], set()
    for group in groups:
        if not group.share > 0 or not group.stores:
            raise UserError(f"group {group.name}: its share must be above 0 and it must have a corpus")
        for path in group.stores:
            store = TokenStore(path)
            if store.digest in seen:
                raise UserError(f"{path} is in the mixture twice", hint="name each tokenized corpus once")
            seen.add(store.digest)
            if corpora and store.index["identity"]["vocabulary"] != corpora[0].store.index["identity"]["vocabulary"]:
                raise UserError(
                    f"{path} and {corpora[0].path} were tokenized with different vocabularies",
                    hint="tokenize both with the --vocabulary of the model that is trained",
                )
            allowed = np.arange(len(store))
            if settings.blocks:
                wanted = [i for i, name in enumerate(store.blocks) if name in settings.blocks]
                allowed = np.flatnonzero(np.isin(store.block_of, wanted))
            tokens = int(store.lengths[allowed].sum(dtype=np.int64))
            if not tokens:
                hint = "its blocks: " + " ".join(store.blocks)
                raise UserError(f"{path} has no document of the blocks {' '.join(settings.blocks)}", hint=hint)
            corpora.append(_Corpus(group.name, Path(path), store, allowed, tokens))
    if not corpora:
        raise UserError("a mixture of nothing", hint="give --group NAME=SHARE:DIR[,DIR...]")
    return corpora


def _set_shares(groups: list[Group], corpora: list[_Corpus], settings: Settings) -> None:
    whole = sum(g.share for g in groups)
    for group in groups:
        own = [c for c in corpora if c.group == group.name]
        weights = [c.tokens**settings.alpha for c in own]
        for c, weight in zip(own, weights, strict=True):
            c.share = group.share / whole * weight / sum(weights)


def _draw(corpus: _Corpus, wanted: float, seed: int) -> np.ndarray:
    """Documents whose tokens come nearest to `wanted`: whole passes, and the beginning of a shuffle."""
    lengths = corpus.store.lengths
    passes, rest = divmod(max(wanted, 0.0), corpus.tokens)
    generator = np.random.default_rng([seed, int(corpus.store.digest[:15], 16)])
    shuffled = generator.permutation(corpus.allowed)
    ends = np.concatenate(([0], np.cumsum(lengths[shuffled], dtype=np.int64)))
    at = int(np.searchsorted(ends, rest))
    if at and rest - ends[at - 1] < ends[min(at, len(ends) - 1)] - rest:
        at -= 1
    return np.sort(np.concatenate([np.tile(corpus.allowed, int(passes)), shuffled[:at]])).astype(np.int64)


class Selection:
    """The documents of a mixture, or of one store as it is, in the order of the stores.

    Attributes: lengths [n] uint32, block_of [n] uint8 and corpus_of [n] uint16 (index into `blocks` and `corpora`),
    digest.
    """

    def __init__(self, path: str | Path, vocabulary: str | Path | None = None):
        """`path`: a mixture or a store. Raises UserError when it, or what it is made of, is missing or stale."""
        self.path = Path(path)
        record = read_json(self.path / MIX) if (self.path / MIX).is_file() else None
        if record is None and not (self.path / INDEX).is_file():
            raise UserError(
                f"{path} is neither a mixture nor a tokenized corpus", hint="corpus_tokenize.py and corpus_mix.py"
            )
        # Absolute, because a job's folder is renamed when it ends.
        folders = [Path(s["store"]) for s in record["stores"]] if record else [self.path]
        for folder in folders:
            if not (folder / INDEX).is_file():
                hint = "run corpus_mix.py again with the tokenized corpora where they are now"
                raise UserError(f"{self.path} is a mixture of {folder}, which is not there", hint)
        self.stores = [TokenStore(folder, vocabulary) for folder in folders]
        for store, made_from in zip(self.stores, record["stores"] if record else (), strict=False):
            if store.digest != made_from["digest"]:
                raise UserError(
                    f"{self.path} is stale: {store.folder} has changed since", hint="run corpus_mix.py again"
                )
        self._firsts = np.cumsum([0, *map(len, self.stores)])
        self._documents = (
            np.load(self.path / DOCUMENTS, mmap_mode="r", allow_pickle=False)
            if record
            else np.arange(self._firsts[-1], dtype=np.uint32)
        )
        self.digest = record["digest"] if record else self.stores[0].digest
        self.blocks = sorted({b for s in self.stores for b in s.blocks})
        self.corpora = sorted({c for s in self.stores for c in s.corpora})
        self.lengths = np.concatenate([s.lengths for s in self.stores])[self._documents]
        self.block_of = self._named("blocks", "block_of", np.uint8)
        self.corpus_of = self._named("corpora", "corpus_of", np.uint16)

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def column(self, name: str) -> np.ndarray:
        """A column of the stores' documents (`store.TABLE`) for those chosen."""
        return np.concatenate([s.column(name) for s in self.stores])[self._documents]

    def document(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """(ids, kinds) of the i-th chosen document."""
        number = int(self._documents[i])
        store = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return self.stores[store].document(number - int(self._firsts[store]))

    def _named(self, names: str, numbers: str, dtype: type) -> np.ndarray:
        whole = getattr(self, names)
        parts = [
            np.asarray([whole.index(n) for n in getattr(s, names)], dtype)[getattr(s, numbers)] for s in self.stores
        ]
        return np.concatenate(parts)[self._documents]
