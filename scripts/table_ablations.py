"""Write the table of ablations: markdown, CSV and LaTeX."""

from __future__ import annotations

from spire.errors import run_main
from spire.tables.ablations import ablations_table
from spire.tables.command import table_command


def main(argv: list[str] | None = None) -> int:
    return table_command(__doc__, lambda book, published, _: [ablations_table(book, published)], argv)


if __name__ == "__main__":
    run_main(main)
