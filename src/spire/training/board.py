"""TensorBoard event files beside the JSONL logs, where the package `tensorboard` is installed.

Guarantee: the JSONL logs are the record; curves are a copy of them. A run that is taken up again writes the curves of
what was logged before into its own folder again, so one folder always has the whole run.
"""

from __future__ import annotations

import sys
from pathlib import Path


class Board:
    """Scalars of log lines under `name`/FIELD and `name`/FIELD/KEY, at the line's step."""

    def __init__(self, folder: str | Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, name: str, fields: dict) -> None:
        for field, value in fields.items():
            for key, number in value.items() if isinstance(value, dict) else [("", value)]:
                if field != "step" and isinstance(number, int | float):
                    self._writer.add_scalar("/".join(filter(None, (name, field, key))), number, fields["step"])
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def open_board(folder: str | Path | None) -> Board | None:
    """A board writing to `folder`; None without a folder, and, with a line on stderr, without the package."""
    if not folder:
        return None
    try:
        return Board(folder)
    except ImportError:
        print("no TensorBoard files: the package is not installed (pip install tensorboard)", file=sys.stderr)
        return None
