"""Write the table of text translation: markdown, CSV and LaTeX."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.files import replaced_folder
from spire.tables.book import Book
from spire.tables.mt import mt_table
from spire.tables.published import read_published
from spire.tables.render import write_tables


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", required=True, nargs="+", type=Path, help="folders of score files, one a model")
    parser.add_argument("--published", required=True, type=Path, help="published numbers, configs/published/spire.yml")
    parser.add_argument("--out", required=True, type=Path, help="folder of tables; replaced when it exists")
    arguments = parser.parse_args(argv)
    book, published = Book.read(arguments.scores), read_published(arguments.published)
    tables = [mt_table(book, published)]
    with replaced_folder(arguments.out) as folder:
        write_tables(folder, tables)
    return 0


if __name__ == "__main__":
    run_main(main)
