"""Collect all score files of a study in one CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.tables.book import Book
from spire.tables.collect import write_scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", required=True, nargs="+", type=Path, help="folders of score files, one a model")
    parser.add_argument("--out", required=True, type=Path, help="CSV file")
    arguments = parser.parse_args(argv)
    write_scores(arguments.out, Book.read(arguments.scores))
    return 0


if __name__ == "__main__":
    run_main(main)
