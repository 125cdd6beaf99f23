"""Put the table of a results file into the README, between its markers `<!-- results -->` and `<!-- /results -->`.

python scripts/results_readme.py --table results/ablations.md --readme README.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.textfiles import read_lines, read_text, write_text

START, END = "<!-- results -->", "<!-- /results -->"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, type=Path, help="Markdown file; its first table is taken")
    parser.add_argument("--readme", required=True, type=Path, help="file to change")
    args = parser.parse_args(argv)
    rows = [line for line in read_lines(args.table) if line.startswith("|")]
    if not rows:
        raise UserError(f"{args.table} has no table", "give a file that table_*.py wrote")
    text = read_text(args.readme)
    if text.count(START) != 1 or text.count(END) != 1:
        raise UserError(f"{args.readme} needs the markers {START} and {END}, once each")
    before, rest = text.split(START)
    write_text(args.readme, before + START + "\n\n" + "\n".join(rows) + "\n\n" + END + rest.split(END)[1])
    return 0


if __name__ == "__main__":
    run_main(main)
