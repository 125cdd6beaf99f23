"""The command line that the tables of model scores have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from spire.files import replaced_folder
from spire.tables.book import Book
from spire.tables.layout import Table
from spire.tables.published import Published, read_published
from spire.tables.render import write_tables


def table_command(
    description: str | None, build: Callable[[Book, Published, list[Path]], list[Table]], argv: list[str] | None = None
) -> int:
    """Read score folders and published numbers, build the tables, replace the output folder whole; returns 0."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--scores", required=True, nargs="+", type=Path, help="folders of score files, one a model")
    parser.add_argument("--published", required=True, type=Path, help="published numbers, configs/published/spire.yml")
    parser.add_argument("--out", required=True, type=Path, help="folder of tables; replaced when it exists")
    arguments = parser.parse_args(argv)
    book, published = Book.read(arguments.scores), read_published(arguments.published)
    tables = build(book, published, arguments.scores)
    with replaced_folder(arguments.out) as folder:
        write_tables(folder, tables)
    return 0
