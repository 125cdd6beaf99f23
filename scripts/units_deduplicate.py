"""Drop each unit that equals the one before it: a filter from standard input to standard output, line by line.

    python scripts/units_deduplicate.py < raw.units > train.units
    python scripts/units_deduplicate.py --form indices --input raw.txt --out train.txt

In the form `pua` only units are collapsed: text around them, with its doubled letters and digits, stays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from spire.errors import UserError, run_main
from spire.textfiles import write_lines
from spire.units.lines import FORMS, deduplicate_line


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=FORMS, default="pua", help="how units are written")
    parser.add_argument("--input", type=Path, help="default: standard input")
    parser.add_argument("--out", type=Path, help="default: standard output")
    args = parser.parse_args(argv)
    name = str(args.input or "standard input")
    source = open(args.input, "rb") if args.input else sys.stdin.buffer  # noqa: SIM115 (closed with the process)
    lines = deduplicated(source, args.form, name)
    if args.out:
        write_lines(args.out, lines)
        return 0
    for line in lines:
        sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.flush()
    return 0


def deduplicated(source: Iterable[bytes], form: str, name: str) -> Iterator[str]:
    """The lines without repeats; UserError names the line that holds something else."""
    for number, raw in enumerate(source, start=1):
        try:
            yield deduplicate_line(raw.decode("utf-8").removesuffix("\n").removesuffix("\r"), form)
        except UnicodeDecodeError as e:
            raise UserError(f"{name}:{number}: byte {e.start} is not UTF-8") from None
        except UserError as e:
            raise UserError(f"{name}:{number}: {e.message}", e.hint) from None


if __name__ == "__main__":
    run_main(main)
