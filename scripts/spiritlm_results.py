"""Collect what a SpiRit-LM study publishes beside its tables: measures.jsonl, and trainings.csv from the logs."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.files import replaced_folder
from spire.scoring.references import named_files
from spiritlm.tables.collected import Collected
from spiritlm.tables.results import write_collected, write_trainings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measures", required=True, nargs="+", type=Path, help="folders of measures")
    parser.add_argument("--log", action="append", default=[], metavar="NAME=FILE", help="log of a training, JSONL")
    parser.add_argument("--out", required=True, type=Path, help="folder; replaced when it exists")
    arguments = parser.parse_args(argv)
    found, logs = Collected.read(arguments.measures), named_files("--log", arguments.log)
    with replaced_folder(arguments.out) as folder:
        write_collected(folder / "measures.jsonl", found)
        if logs:
            write_trainings(folder / "trainings.csv", logs)
    return 0


if __name__ == "__main__":
    run_main(main)
