"""Train the base vocabulary (SentencePiece BPE, Llama conventions) on the text that the base model will see.

python scripts/vocabulary_train.py --parallel parallel.jsonl --mono mono.jsonl --size 600 --out base.model
"""

from __future__ import annotations

import argparse

from spire.errors import run_main
from spire.vocabulary.train import train_to_file


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallel", nargs="*", default=[], help="JSONL files of sentences by language code")
    parser.add_argument("--mono", nargs="*", default=[], help='JSONL files of {"lang", "text"}')
    parser.add_argument("--size", type=int, required=True, help="pieces in all (256 of them bytes)")
    parser.add_argument("--no-byte-fallback", action="store_true", help="no byte pieces: unknown characters are lost")
    parser.add_argument("--out", required=True, help="the .model file to write")
    args = parser.parse_args(argv)
    lines = train_to_file([*args.parallel, *args.mono], args.size, args.out, not args.no_byte_fallback)
    print(f"{args.out}: {args.size} pieces from {lines} lines")
    return 0


if __name__ == "__main__":
    run_main(main)
