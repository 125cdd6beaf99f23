"""Documents for training SpiRit-LM: streams cut at word boundaries, or text, as one folder of memory-mapped files.

python scripts/spiritlm_documents.py --streams train.jsonl --words words.jsonl --manifest speech/manifest.jsonl \\
    --group story --vocabulary extended/ --part 3/16 --out documents/
python scripts/spiritlm_documents.py --text text.jsonl --vocabulary extended/ --out text_documents/

Without --words: speech alone. A large corpus is made in parts, one folder each; spiritlm_train.py takes several.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main


def main(argv: list[str] | None = None) -> int:
    from spire.vocabulary.tokenizer import Vocabulary
    from spiritlm.lm.documents import Inputs, build

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=Path, help='JSONL of {"id", "hubert"[, "pitch", "style"]}')
    parser.add_argument("--words", type=Path, help='alignment: JSONL of {"id", "words": [[word, start s, end s], ...]}')
    parser.add_argument("--manifest", type=Path, help="of the speech, for --group")
    parser.add_argument("--group", help="field of the manifest: consecutive utterances of one value are one document")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help='JSONL of {"text"} or {"sentences"}')
    parser.add_argument("--expressive", action="store_true", help="with pitch and style")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="the I-th of N parts of the documents")
    parser.add_argument("--vocabulary", required=True, help="model folder of spiritlm_extend.py")
    parser.add_argument("--out", required=True, help="folder to write")
    args = parser.parse_args(argv)
    first, _, last = args.part.partition("/")
    part = (int(first), int(last)) if first.isdecimal() and last.isdecimal() else (0, 0)
    inputs = Inputs(args.streams, args.words, args.manifest, args.group, tuple(args.text), args.expressive, part)
    index = build(inputs, Vocabulary.load(args.vocabulary), args.out)
    counts = index["counts"]
    print(
        f"{args.out}: {counts['documents']:,} documents, {counts['words']:,} words, {index['units']:,} units, "
        f"{index['hours']:.2f} h, {counts['text']:,} ids of text"
    )
    for reason, number in index["left_out"].items():
        print(f"  left out: {number:,} {reason}")
    return 0


if __name__ == "__main__":
    run_main(main)
