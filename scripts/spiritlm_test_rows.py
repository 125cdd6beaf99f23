"""What the likelihood tests of the small study have to have spoken beside the test stories: rows for spiritlm_speak.py.

    python scripts/spiritlm_test_rows.py --test stories/test.jsonl --train stories/train.jsonl \
        --voices configs/spiritlm_voices.json --words 100 --stories 100 --seed 1 --out rows.jsonl
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import cache
from pathlib import Path

from spire.errors import run_main
from spire.speech.espeak import speak
from spire.textfiles import read_jsonl, write_jsonl
from spiritlm.evaluation.generated import Sizes, rows_to_speak
from spiritlm.speech.voices import read_cast


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", type=Path, required=True, help="test stories")
    parser.add_argument("--train", type=Path, required=True, help="spoken training stories")
    parser.add_argument("--voices", type=Path, required=True, help="speakers and styles")
    parser.add_argument("--words", type=int, default=100, help="words with pseudo-words, each by two speakers")
    parser.add_argument("--stories", type=int, default=100, help="test stories to take, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="JSONL file")
    args = parser.parse_args(argv)
    cast = read_cast(args.voices)
    voice = next(iter(cast.speakers.values()))

    @cache
    def sound(word: str) -> tuple[str, ...]:
        return tuple(symbol for symbol, _, _ in speak(word, voice).phones if not symbol.startswith("_"))

    # Speakers change first: neighbouring entries are by different speakers.
    styles = [(speaker, style) for style in cast.styles for speaker in cast.speakers]
    sizes = Sizes(args.words, args.stories)
    rows = rows_to_speak(read_jsonl(args.test), read_jsonl(args.train), sizes, sound, styles, args.seed)
    write_jsonl(args.out, rows)
    counts = Counter(row["test"] for row in rows)
    print(", ".join(f"{test}: {count} utterances" for test, count in counts.items()))
    return 0


if __name__ == "__main__":
    run_main(main)
