"""A folder of pitch contours: what a tracker found in the utterances of a manifest, in its order.

    f0.json           {"backend", "rate", "interpolated", "utterances", "values"}; its presence means complete
    utterances.jsonl  {"id", "speaker", "values"} each
    values.f32        little-endian float32 [values, 2], f0 in Hz and voicing (0 or 1), one utterance after the other

f0 is interpolated over unvoiced frames (0 where nothing is voiced), as the tokenizer's published settings want it;
f0 times voicing gives it without. A large corpus is tracked in parts, each a folder; readers take several folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spire.errors import UserError
from spire.files import replaced_folder
from spire.textfiles import read_jsonl

RATE = 200.0
_HINT = "make the folder again with spiritlm_f0.py"
_FORM = np.dtype("<f4")


@dataclass(frozen=True)
class TrackedF0:
    """The contours of one utterance: f0 in Hz and voicing, float32 [T] each, at 200 Hz."""

    id: str
    speaker: str
    f0: np.ndarray
    voicing: np.ndarray

    @property
    def contour(self) -> tuple[np.ndarray, np.ndarray]:
        return self.f0, self.voicing


def write_f0(folder: str | Path, tracked: Iterable[TrackedF0], backend: str) -> int:
    """Write the folder, which appears whole or not at all; returns the number of utterances."""
    utterances = values = 0
    with replaced_folder(folder) as partial:
        with open(partial / "values.f32", "wb") as numbers, open(partial / "utterances.jsonl", "w") as index:
            for item in tracked:
                numbers.write(np.stack([item.f0, item.voicing], axis=1).astype(_FORM).tobytes())
                line = {"id": item.id, "speaker": item.speaker, "values": len(item.f0)}
                index.write(json.dumps(line, ensure_ascii=False) + "\n")
                utterances, values = utterances + 1, values + len(item.f0)
        about = {"backend": backend, "rate": RATE, "interpolated": True, "utterances": utterances, "values": values}
        (partial / "f0.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return utterances


class F0Folder:
    """The contours of a folder, or of several as if they were one; `backend` is their tracker. Values stay on disk.
    UserError: no such folder, not complete, or of different trackers."""

    def __init__(self, folders: str | Path | Sequence[str | Path]):
        folders = [folders] if isinstance(folders, str | Path) else folders
        self._parts = [_Part(Path(folder)) for folder in folders]
        backends = sorted({part.backend for part in self._parts})
        if len(backends) != 1:
            raise UserError(f"contours of {len(backends)} trackers: {', '.join(backends)}", "give those of one tracker")
        self.backend = backends[0]
        self.ids = [line["id"] for part in self._parts for line in part.lines]
        self._places = [(part, i) for part in self._parts for i in range(len(part.lines))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> TrackedF0:
        part, i = self._places[index]
        return part.tracked(i)

    def __iter__(self) -> Iterator[TrackedF0]:
        return map(self.__getitem__, range(len(self)))


class _Part:
    def __init__(self, folder: Path):
        path = folder / "f0.json"
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            self.backend, values = about["backend"], about["values"]
            self.lines = read_jsonl(folder / "utterances.jsonl")
            self.bounds = np.cumsum([0, *(line["values"] for line in self.lines)])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise UserError(f"{folder}: no complete folder of contours: {type(e).__name__}: {e}", _HINT) from e
        size = (folder / "values.f32").stat().st_size if (folder / "values.f32").exists() else 0
        if self.bounds[-1] != values or size != values * 2 * _FORM.itemsize or len(self.lines) != about["utterances"]:
            raise UserError(f"{folder}: {size} bytes of contours do not fit its {values} values", _HINT)
        self.values = (
            np.memmap(folder / "values.f32", _FORM, "r", shape=(values, 2)) if values else np.zeros((0, 2), _FORM)
        )

    def tracked(self, i: int) -> TrackedF0:
        f0, voicing = np.array(self.values[self.bounds[i] : self.bounds[i + 1]], np.float32).T
        return TrackedF0(self.lines[i]["id"], self.lines[i].get("speaker", ""), f0, voicing)
