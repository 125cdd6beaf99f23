"""Items of the likelihood tests of the small study: <test_set>.<direction>.jsonl for wuggy, blimp, tsc and sc.

    python scripts/spiritlm_test_items.py --stories stories/test.jsonl --rows rows.jsonl \
        --story-streams test/streams.jsonl --row-streams rows/streams.jsonl --seed 1 --out items
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.files import replaced_folder
from spire.textfiles import read_jsonl
from spiritlm.evaluation.generated import test_sets
from spiritlm.evaluation.items import write_test_set
from spiritlm.evaluation.streams import read_streams


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=Path, required=True, help="test stories")
    parser.add_argument("--rows", type=Path, required=True, help="rows of spiritlm_test_rows.py")
    parser.add_argument("--story-streams", type=Path, required=True, help="units of the spoken test stories")
    parser.add_argument("--row-streams", type=Path, required=True, help="units of the spoken rows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of items")
    args = parser.parse_args(argv)
    spoken = [read_streams([path]) for path in (args.story_streams, args.row_streams)]
    sets = test_sets(read_jsonl(args.stories), read_jsonl(args.rows), *spoken, args.seed)
    with replaced_folder(args.out) as partial:
        for test in sets:
            write_test_set(partial, test)
    for test in sets:
        print(f"{test.name} {test.direction}: {len(test.items)} items")
    return 0


if __name__ == "__main__":
    run_main(main)
