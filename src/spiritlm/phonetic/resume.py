"""What `spire.training.snapshots.Checkpoints` needs to keep modules and optimizers of one process, and to go on.

A loop whose random draws follow from (seed, step) alone goes on bit for bit from these: there is no other state.
"""

from __future__ import annotations

from pathlib import Path

import torch

_FILE = "state.pt"


class Resumable:
    """`parts` are modules and optimizers by name."""

    is_main = True

    def __init__(self, **parts: torch.nn.Module | torch.optim.Optimizer):
        self._parts = parts

    def any(self, flag: bool) -> bool:
        return flag

    def save(self, folder: Path) -> list[str]:
        torch.save({name: part.state_dict() for name, part in self._parts.items()}, Path(folder) / _FILE)
        return [_FILE]

    def load(self, folder: Path) -> None:
        states = torch.load(Path(folder) / _FILE, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(states[name])
