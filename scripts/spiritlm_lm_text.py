"""Text for the text model that SpiRit-LM starts from, and its vocabulary: stories, one sentence a line.

python scripts/spiritlm_lm_text.py --text text.jsonl train.jsonl --size 1152 --vocabulary text.model --corpus text.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    from spire.textfiles import write_bytes, write_jsonl
    from spiritlm.lm.text import corpus_lines, train_vocabulary

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True, help='JSONL of {"sentences"} or {"text"}')
    parser.add_argument("--size", type=int, required=True, help="pieces of the vocabulary, 256 of them bytes")
    parser.add_argument("--vocabulary", required=True, help="SentencePiece model to write")
    parser.add_argument("--corpus", required=True, help="corpus for train_base.py to write")
    args = parser.parse_args(argv)
    write_bytes(Path(args.vocabulary), train_vocabulary(args.text, args.size))
    lines = write_jsonl(Path(args.corpus), corpus_lines(args.text))
    print(f"{args.corpus}: {lines} texts; {args.vocabulary}: {args.size} pieces")
    return 0


if __name__ == "__main__":
    run_main(main)
