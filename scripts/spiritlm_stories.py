"""Generate stories of four sentences: spoken training, dev and test stories, and more as text only.

    python scripts/spiritlm_stories.py --voices configs/spiritlm_voices.json --train 800 --dev 40 --test 100 \
        --text 12000 --seed 1 --out out/stories
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spiritlm.speech.stories import Sizes, generate, write_stories
from spiritlm.speech.voices import read_cast


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=Path, required=True, help="speakers and styles")
    parser.add_argument("--train", type=int, default=800, help="stories")
    parser.add_argument("--dev", type=int, default=40)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--text", type=int, default=12_000, help="stories that nobody speaks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for {train,dev,test,text}.jsonl")
    args = parser.parse_args(argv)
    cast = read_cast(args.voices)
    sizes = Sizes(args.train, args.dev, args.test, args.text)
    stories = generate(sizes, tuple(cast.speakers), tuple(cast.styles), args.seed)
    write_stories(stories, args.out)
    words = {word for rows in stories.values() for row in rows for text in row["sentences"] for word in text.split()}
    print(", ".join(f"{len(rows)} {part}" for part, rows in stories.items()) + f" stories, {len(words)} words")
    return 0


if __name__ == "__main__":
    run_main(main)
