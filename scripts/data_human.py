"""Turn the shipped human recordings into 16 kHz WAV files and a manifest, human.jsonl.

    python scripts/data_human.py --source data/human --out out/human
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from spire.errors import run_main
from spire.speech.human import make_manifest


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with metadata.jsonl: data/human")
    parser.add_argument("--out", type=Path, required=True, help="folder for human.jsonl and audio/")
    parser.add_argument("--subset", type=int, help="use only this many recordings (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="decides which recordings a subset takes")
    args = parser.parse_args(argv)
    utterances = make_manifest(args.source, args.out, args.subset, args.seed)
    translations = Counter(language for utterance in utterances for language in utterance.translations)
    seconds = sum(utterance.duration for utterance in utterances)
    print(f"{len(utterances)} utterances, {seconds:.0f} s")
    print("translations: " + ", ".join(f"{language} {n}" for language, n in sorted(translations.items())))
    return 0


if __name__ == "__main__":
    run_main(main)
