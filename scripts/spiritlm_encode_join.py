"""Put the parts of an encoded corpus together: OUT/streams.jsonl, the bytes that one job would have made.

python scripts/spiritlm_encode_join.py --parts out/part-*/encoded --out out/encoded
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spiritlm.alignment.part import join_parts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, nargs="+", required=True, help="--out folders of the parts")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args(argv)
    record = join_parts("streams", args.parts, args.out)
    print(f"{record.counts['utterances']} utterances, {record.counts['failed']} without units")
    return 0


if __name__ == "__main__":
    run_main(main)
