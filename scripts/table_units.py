"""Write the table of unit quality by encoder: markdown, CSV and LaTeX."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.files import replaced_folder
from spire.tables.render import write_tables
from spire.tables.units import units_table


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", required=True, nargs="+", type=Path, help="JSON reports of units_report.py")
    parser.add_argument("--out", required=True, type=Path, help="folder of tables; replaced when it exists")
    arguments = parser.parse_args(argv)
    table = units_table(arguments.reports)
    with replaced_folder(arguments.out) as folder:
        write_tables(folder, [table])
    return 0


if __name__ == "__main__":
    run_main(main)
