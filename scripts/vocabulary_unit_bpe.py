"""Learn merged units from labelled speech, as new types for vocabulary_extend.py.

python scripts/vocabulary_unit_bpe.py --units units/train.units --merges 3000 --out merged.tsv
python scripts/vocabulary_extend.py --model base/ --units 5000 --new-types merged.tsv --out extended/
"""

from __future__ import annotations

import argparse

from spire.errors import run_main
from spire.vocabulary.unit_bpe import learn, unit_lines, write_pieces


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", nargs="+", required=True, help="NAME.units files, units as characters")
    parser.add_argument("--merges", type=int, required=True, help="how many merged units at most")
    parser.add_argument("--out", required=True, help="file to write: piece, tab, its units")
    args = parser.parse_args(argv)
    lines = list(unit_lines(args.units))
    pieces = learn(lines, args.merges)
    write_pieces(pieces, args.out)
    print(f"{args.out}: {len(pieces)} merged units from {len(lines)} lines")
    return 0


if __name__ == "__main__":
    run_main(main)
