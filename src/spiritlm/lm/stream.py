"""Batches of a mixture of documents, rendered anew in every epoch: `spire.training.engine.Source` for both engines.

Guarantees: what a document becomes is a function of (seed, epoch, document) and its group's format, so a position is a
few numbers, and after `restore` the same batches follow bit for bit, for any number of processes; within an epoch of a
group every document is used once; groups stand in the stated ratio of tokens, within a document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spire.errors import UserError
from spire.tokens.rows import LOOKAHEAD, Packer
from spire.tokens.stream import PackedBatch
from spire.training.data import NO_LOSS, TEXT_LOSS, UNIT_LOSS
from spiritlm.lm.render import FORMATS, Renderer
from spiritlm.lm.shuffle import Shuffle
from spiritlm.lm.store import Corpus

_IN_LINE = 16  # documents in line for each row of an update, to fill rows well


@dataclass(frozen=True)
class Group:
    """A part of the mixture. Attributes: name (block of the losses), corpus, form (see `render`), share (of tokens,
    beside the other groups' shares)."""

    name: str
    corpus: Corpus
    form: str
    share: float = 1.0

    @staticmethod
    def parse(text: str, vocabulary) -> Group:
        """ "NAME=SHARE:FORMAT:FOLDER[,FOLDER...]"; UserError otherwise."""
        name, mark, rest = text.partition("=")
        share, first, rest = rest.partition(":")
        form, second, folders = rest.partition(":")
        try:
            number = float(share)
        except ValueError:
            number = 0.0
        if not (name and mark and first and second and folders and number > 0 and form in FORMATS):
            raise UserError(
                f"{text!r} is no group of documents",
                hint="write NAME=SHARE:FORMAT:FOLDER[,FOLDER], such as speech=1:interleaved:documents; formats: "
                + " ".join(FORMATS),
            )
        return Group(name, Corpus([f for f in folders.split(",") if f], vocabulary), form, number)


class MixtureStream:
    """See `engine.Source`: `rows` rows of `length` tokens an update."""

    def __init__(self, groups: list[Group], renderer: Renderer, rows: int, seed: int):
        if not groups or len({g.name for g in groups}) < len(groups):
            raise UserError("a mixture needs groups with different names", hint="--group NAME=SHARE:FORMAT:FOLDER")
        self.groups, self.renderer, self.rows, self.seed = groups, renderer, rows, seed
        self.blocks = [group.name for group in groups]
        self.restore({"groups": [[0, 0, 0] for _ in groups], "waiting": [], "ready": []})

    def __next__(self) -> PackedBatch:
        packed = self._packer.update(self._draw)
        batch = assembled(
            [[(self._made.pop(key), key[0]) for key, _, _ in row] for row in packed],
            self.renderer,
            self.rows,
        )
        batch.epoch = min(epoch for epoch, _, _ in self._groups)
        return batch

    def identity(self) -> dict:
        """Digests of the documents, and all that decides what they become."""
        limits, tokens = self.renderer.limits, self.renderer.tokens
        return {
            "groups": [[g.name, g.share, g.form, g.corpus.digest] for g in self.groups],
            "spans": [limits.text, limits.speech],
            "expressive": self.renderer.expressive,
            "ids": [tokens.ids.text, tokens.ids.size],
            "rows": self.rows,
            "length": self.renderer.length,
            "seed": self.seed,
        }

    def state(self) -> dict:
        waiting = [list(entry[0]) for entry in self._packer.waiting]
        return {"groups": [list(g) for g in self._groups], "waiting": waiting, "ready": [list(k) for k in self._ready]}

    def restore(self, state: dict) -> None:
        # Of each group: epoch, documents of it drawn, tokens drawn in all.
        self._groups = [list(g) for g in state["groups"]]
        self._orders = [self._order(number) for number in range(len(self.groups))]
        documents = sum(len(group.corpus) for group in self.groups)
        in_line = min(LOOKAHEAD, _IN_LINE * self.rows, documents // 16)
        self._packer = Packer(self.renderer.length, self.rows, in_line)
        self._made: dict[tuple[int, int, int, int], np.ndarray] = {}
        self._ready = [tuple(key) for key in state["ready"]]
        waiting = [tuple(key) for key in state["waiting"]]
        wanted = {*waiting, *self._ready}
        for number, epoch, document in sorted({key[:3] for key in wanted}):
            self._render(number, epoch, document)
        self._made = {key: row for key, row in self._made.items() if key in wanted}
        self._packer.waiting.extend((key, len(self._made[key]), key[1]) for key in waiting)

    def _order(self, number: int) -> Shuffle:
        return Shuffle(len(self.groups[number].corpus), self.seed, number, self._groups[number][0])

    def _render(self, number: int, epoch: int, document: int) -> list[tuple[int, int, int, int]]:
        """Make the rows of a document, and return their keys: group, epoch, document, number of the row."""
        group = self.groups[number]
        rng = np.random.default_rng([self.seed, epoch, document])
        rows = self.renderer.rows(group.corpus[document], group.form, rng)
        keys = [(number, epoch, document, i) for i in range(len(rows))]
        self._made.update(zip(keys, rows, strict=True))
        return keys

    def _draw(self) -> tuple[tuple[int, int, int, int], int, int]:
        """The next row in line: (its key, tokens, epoch)."""
        fruitless = 0
        while not self._ready:
            number = min(range(len(self.groups)), key=lambda i: (self._groups[i][2] / self.groups[i].share, i))
            epoch, place, _ = self._groups[number]
            keys = self._render(number, epoch, self._orders[number][place])
            self._groups[number][1] += 1
            self._groups[number][2] += sum(len(self._made[key]) for key in keys)
            if self._groups[number][1] == len(self.groups[number].corpus):
                self._groups[number][:2] = [epoch + 1, 0]
                self._orders[number] = self._order(number)
            self._ready = keys
            fruitless += 1
            if not keys and fruitless > len(self.groups[number].corpus):
                raise UserError(
                    f"group {self.groups[number].name}: no document fits a row of {self.renderer.length} tokens",
                    hint="use longer rows: --sequence-length 4096",
                )
        key = self._ready.pop(0)
        return key, len(self._made[key]), key[1]


def assembled(packed: list[list[tuple[np.ndarray, int]]], renderer: Renderer, rows: int) -> PackedBatch:
    """A batch of the rows (lists of (ids, number of the group)), which are at most `rows`; its documents lie longest
    first, as the native engine likes them."""
    documents = [(ids, group, row) for row, content in enumerate(packed) for ids, group in content]
    documents.sort(key=lambda item: -len(item[0]))
    size = renderer.length * rows
    ids, positions = np.zeros(size, np.int64), np.zeros(size, np.int64)
    kinds, blocks = np.full(size, NO_LOSS, np.uint8), np.zeros(size, np.uint8)
    starts, places = [0], [[] for _ in range(rows)]
    for number, (content, group, row) in enumerate(documents):
        at = slice(starts[-1], starts[-1] + len(content))
        ids[at], positions[at], blocks[at] = content, np.arange(len(content)), group
        kinds[at] = np.where(renderer.tokens.is_speech(content), UNIT_LOSS, TEXT_LOSS)
        starts.append(at.stop)
        places[row].append(number)
    return PackedBatch(ids, positions, kinds, blocks, starts, 0, places)


def held_out(groups: list[Group], blocks: list[str], renderer: Renderer, rows: int, seed: int) -> list[PackedBatch]:
    """Every document of `groups` once, as epoch 0 renders it, in batches of at most `rows` rows; `blocks` are the names
    of the groups in training. UserError for a group that is not among them.
    """
    if unknown := [group.name for group in groups if group.name not in blocks]:
        raise UserError(f"held-out group {unknown[0]!r} is no group of the training", hint=" ".join(blocks))
    batches, pending, room = [], [], 0
    for group in groups:
        number = blocks.index(group.name)
        for document in range(len(group.corpus)):
            rng = np.random.default_rng([seed, 0, document])
            for ids in renderer.rows(group.corpus[document], group.form, rng):
                if len(ids) > room:
                    if len(pending) == rows:
                        batches.append(assembled(pending, renderer, rows))
                        pending = []
                    pending.append([])
                    room = renderer.length
                pending[-1].append((ids, number))
                room -= len(ids)
    return [*batches, assembled(pending, renderer, rows)]
