"""Streams as unit strings, a line for each utterance: what systems that read SpiRit-LM's units are given.

python scripts/spiritlm_unit_strings.py --streams encoded/streams.jsonl --out units.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.textfiles import read_jsonl, write_lines
from spiritlm.unit_strings import units_to_string


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=Path, required=True, help="of spiritlm_encode.py")
    parser.add_argument("--expressive", action="store_true", help="with pitch and style")
    parser.add_argument("--out", type=Path, required=True, help="an empty line stands for no units")
    args = parser.parse_args(argv)
    expressive = args.expressive
    lines = (units_to_string(row, expressive, expressive) for row in read_jsonl(args.streams))
    print(f"{write_lines(args.out, lines)} utterances")
    return 0


if __name__ == "__main__":
    run_main(main)
