"""Copy tables, plots and scores to the results folder and print the tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.tables.publish import printed, publish
from spire.textfiles import write_text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="sources", required=True, nargs="+", type=Path, help="folders or files")
    parser.add_argument("--to", required=True, type=Path, help="results folder; files of other names in it stay")
    parser.add_argument("--list", type=Path, help="file that gets one line `sha256  name` for each copy")
    arguments = parser.parse_args(argv)
    digests = publish(arguments.sources, arguments.to)
    if arguments.list:
        write_text(arguments.list, "".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    print(printed(arguments.to, list(digests)), end="")
    return 0


if __name__ == "__main__":
    run_main(main)
