"""One of SpiRit-LM's tables from measures, beside the published numbers: .md, .csv, .tex, .json."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.files import replaced_folder
from spire.tables.published import read_published
from spire.tables.render import write_tables
from spiritlm.tables.collected import Collected
from spiritlm.tables.tables import TABLES


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, choices=sorted(TABLES))
    parser.add_argument("--measures", required=True, nargs="+", type=Path, help="folders of measures")
    parser.add_argument("--published", required=True, type=Path, help="configs/published/spiritlm.yml")
    parser.add_argument(
        "--sets",
        choices=("published", "generated"),
        default="published",
        help="whether the test sets are those of the paper: only then there are differences",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of tables; replaced when it exists")
    arguments = parser.parse_args(argv)
    found, published = Collected.read(arguments.measures), read_published(arguments.published)
    tables = TABLES[arguments.table](found, published, arguments.sets == "generated")
    with replaced_folder(arguments.out) as folder:
        write_tables(folder, tables)
    return 0


if __name__ == "__main__":
    run_main(main)
