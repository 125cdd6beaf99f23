"""Which ids mean what: the content of `spire_vocabulary.json`, and the questions every vocabulary answers from it.

Ids in order: the base vocabulary, `<CLS> <EOD> <MASK> <PAD> <SEP>`, the units, merged units and other new types, then
`<|im_end|>` and `<|im_start|>`; after them padding up to a multiple of 64, rows that no token ever uses.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from spire.errors import UserError

LAYOUT_FILE = "spire_vocabulary.json"
PAD_MULTIPLE = 64
PUA_FIRST = 0xF0000


@dataclass
class Layout:
    """Which ids mean what; written beside the tokenizer as `spire_vocabulary.json`.

    Attributes: base (ids before the extension), specials (list of str, ids from `base`), first_unit and units
    (unit i has id first_unit + i), instruct (chat marks added, in id order), size (all ids), padded_size (rows of the
    embedding matrices: size rounded up to a multiple of 64); form ("pua" or "extra_id": how a unit is written), merged
    (types directly after the units that stand for several units), units_of (encoder, layer and k-means that the units
    come from: spire.vocabulary.units_of; None: not recorded).
    """

    base: int
    specials: list[str] = field(default_factory=list)
    first_unit: int = 0
    units: int = 0
    instruct: list[str] = field(default_factory=list)
    size: int = 0
    padded_size: int = 0
    form: str = "pua"
    merged: int = 0
    units_of: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self.first_unit = self.first_unit or self.base + len(self.specials)
        self.size = self.size or self.first_unit + self.units + self.merged + len(self.instruct)
        self.padded_size = self.padded_size or -(-self.size // PAD_MULTIPLE) * PAD_MULTIPLE

    def to_json(self) -> dict:
        """What the file holds; the last three attributes only where they say something."""
        usual = {f.name: f.default for f in fields(self) if f.name in ("form", "merged", "units_of")}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    @classmethod
    def read(cls, folder: str | Path) -> Layout | None:
        """The layout of a model directory, None where it has none. UserError when the file is something else."""
        path = Path(folder) / LAYOUT_FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text("utf-8")))
        except (TypeError, ValueError) as e:
            raise UserError(f"{path} is not a vocabulary layout: {e}") from e


class Numbers:
    """Sizes and units of a vocabulary, from its `layout`."""

    layout: Layout

    @property
    def units(self) -> int:
        return self.layout.units

    @property
    def unit_ids(self) -> range:
        """Ids that stand for speech: the units and, after them, merged units."""
        return range(self.layout.first_unit, self.layout.first_unit + self.layout.units + self.layout.merged)

    @property
    def size(self) -> int:
        return self.layout.size

    @property
    def padded_size(self) -> int:
        """Rows of the embedding matrices: `size` rounded up to a multiple of 64."""
        return self.layout.padded_size

    def __len__(self) -> int:
        return self.layout.size

    def unit_id(self, i: int) -> int:
        """Id of unit i; IndexError outside 0..units-1."""
        if not 0 <= i < self.layout.units:
            raise IndexError(f"unit {i}: this vocabulary has {self.layout.units} units")
        return self.layout.first_unit + i

    def is_unit(self, token: int) -> bool:
        """Whether an id stands for speech: a unit, or several merged."""
        return token in self.unit_ids
