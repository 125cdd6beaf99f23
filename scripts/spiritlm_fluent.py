"""A split of Fluent Speech Commands as a manifest with intents.

python scripts/spiritlm_fluent.py --root fluent_speech_commands_dataset/ --split test --out ic/manifest.jsonl
"""

from __future__ import annotations

import argparse

from spire.errors import run_main
from spiritlm.fewshot.fluent import SPLITS, write_fluent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="the unpacked archive")
    parser.add_argument("--split", choices=tuple(SPLITS), default="test")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many utterances (0: all)")
    parser.add_argument("--any-size", action="store_true", help="accept a split of another size than published")
    parser.add_argument("--out", required=True, help="manifest to write")
    args = parser.parse_args(argv)
    print(f"{write_fluent(args.root, args.split, args.out, args.limit, not args.any_size)} utterances")
    return 0


if __name__ == "__main__":
    run_main(main)
