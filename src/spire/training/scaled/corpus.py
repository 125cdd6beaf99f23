"""A corpus that one process tokenizes and all processes of a run map.

Guarantee: what `open_tokens` gives is what `tokenize` gave, number for number.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from spire.training.data import TokenCorpus


def describe_tokens(corpus: TokenCorpus, folder: Path) -> None:
    """Write what `data.tokenize` keeps in memory beside the files that it wrote into `folder`."""
    np.save(folder / "offsets.npy", corpus.offsets)
    np.save(folder / "block_of.npy", corpus.block_of)
    (folder / "corpus.json").write_text(json.dumps({"blocks": corpus.blocks, "dropped": corpus.dropped}), "utf-8")


def open_tokens(folder: Path) -> TokenCorpus:
    """The corpus in `folder`, mapped."""
    about = json.loads((folder / "corpus.json").read_text("utf-8"))
    return TokenCorpus(
        np.memmap(folder / "tokens.i32", np.int32, "r"),
        np.memmap(folder / "kinds.u8", np.uint8, "r"),
        np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False),
        np.load(folder / "block_of.npy", mmap_mode="r", allow_pickle=False),
        about["blocks"],
        about["dropped"],
    )
