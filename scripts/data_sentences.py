"""Generate the English-German-French text corpus: speech train/dev/test sentences, parallel and monolingual text.

    python scripts/data_sentences.py --out out/sentences --seed 1 \
        --speech-train 4000 --speech-dev 100 --speech-test 200 --parallel 16000 --mono 4000
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.speech.sentences import Sizes, count_words, generate, write_corpus


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for speech_*.jsonl, parallel.jsonl, mono.jsonl")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speech-train", type=int, default=4000)
    parser.add_argument("--speech-dev", type=int, default=100)
    parser.add_argument("--speech-test", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=16000, help="sentences with translations")
    parser.add_argument("--mono", type=int, default=4000, help="lines over the three languages together")
    args = parser.parse_args(argv)
    sizes = Sizes(args.speech_test, args.speech_dev, args.speech_train, args.parallel, args.mono)
    corpus = generate(sizes, args.seed)
    write_corpus(corpus, args.out)
    for part, rows in corpus.items():
        print(f"{part}: {len(rows)} lines")
    sentences = [row for part, rows in corpus.items() if part != "mono" for row in rows]
    for language, counts in count_words(sentences).items():
        print(f"{language}: {counts['types']} word types, {counts['words_per_sentence']} words a sentence")
    return 0


if __name__ == "__main__":
    run_main(main)
