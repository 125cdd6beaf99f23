"""Join the parts that `units_label.py --shard i/n` (or `units_lengths.py --shard i/n`) made into whole files.

python scripts/units_join.py --parts out/part1 out/part2 --out out/units
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.datasets.lengths import join_lengths
from spire.errors import run_main
from spire.units.label_join import join


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="folders with the parts")
    parser.add_argument("--name", nargs="+", default=[], help="corpora to join; default: all that are there")
    parser.add_argument("--lengths", action="store_true", help="join NAME.times.npy in place of labels")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    counts = (join_lengths if args.lengths else join)(args.parts, args.out, args.name)
    print(", ".join(f"{value} {name}" for name, value in counts.items()))
    return 0


if __name__ == "__main__":
    run_main(main)
