"""Items of the published likelihood tests, one kind of test a call: <test_set>.<direction>.jsonl in a folder.

    python scripts/spiritlm_items.py --zerospeech sLM21/lexical/dev/gold.csv --streams lexical.jsonl --out items/wuggy
    python scripts/spiritlm_items.py --stories storycloze/test.jsonl --out items/storycloze
    python scripts/spiritlm_items.py --whole tsc --right right.jsonl --wrong wrong.jsonl --out items/tsc
    python scripts/spiritlm_items.py --cut sc --right right.jsonl --wrong wrong.jsonl --right-speech right \
        --wrong-speech wrong --right-words right/words.jsonl --wrong-words wrong/words.jsonl --out items/sc
    python scripts/spiritlm_items.py --mmlu mmlu --shots 5 --out items/mmlu
    python scripts/spiritlm_items.py --join items/wuggy items/tsc --out items/all
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from spire.errors import UserError, run_main
from spire.files import replaced_folder
from spire.textfiles import read_jsonl
from spiritlm.evaluation.items import TestSet, read_test_sets, write_test_set
from spiritlm.evaluation.published import SHOTS, cut_stories, questions, whole_stories, written_stories, zerospeech
from spiritlm.evaluation.spoken_stories import cut_by_words
from spiritlm.evaluation.streams import read_streams


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--zerospeech", type=Path, metavar="GOLD", help="gold.csv of lexical or syntactic")
    kinds.add_argument("--stories", type=Path, metavar="ROWS", help="StoryCloze as text: sc and tsc")
    kinds.add_argument("--whole", metavar="NAME", help="recordings of whole stories: sc or tsc, speech only")
    kinds.add_argument("--cut", metavar="NAME", help="recordings of whole stories, cut by their words: all directions")
    kinds.add_argument("--mmlu", type=Path, metavar="FOLDER", help="folder of dev.jsonl and test.jsonl")
    kinds.add_argument("--join", nargs="+", type=Path, metavar="ITEMS", help="folders of items, put into one")
    parser.add_argument("--streams", nargs="+", type=Path, default=[], help="of --zerospeech: units of the speech")
    for side in ("right", "wrong"):
        parser.add_argument(f"--{side}", type=Path, help=f"units of the {side} stories")
        parser.add_argument(f"--{side}-speech", type=Path, help="of --cut: their folder, with transcripts")
        parser.add_argument(f"--{side}-words", type=Path, help="of --cut: times of their words")
    parser.add_argument("--shots", type=int, default=SHOTS, help="of --mmlu: solved questions in front of each")
    parser.add_argument("--seed", type=int, default=1, help="of --stories: which wrong endings tsc takes")
    parser.add_argument("--out", type=Path, required=True, help="folder of items")
    args = parser.parse_args(argv)
    sets = made(args)
    with replaced_folder(args.out) as partial:
        for folder in args.join or ():
            for path in sorted(folder.glob("*.jsonl")):
                if (partial / path.name).exists():
                    raise UserError(f"{path.name} is in two of the folders", "give each test set once")
                shutil.copyfile(path, partial / path.name)
        for test in sets:
            write_test_set(partial, test)
    for test in sets or read_test_sets(args.out):
        print(f"{test.name} {test.direction}: {len(test.items)} items")
    return 0


def made(args: argparse.Namespace) -> list[TestSet]:
    """The test sets that the arguments ask for; none with --join."""
    if args.zerospeech:
        task = args.zerospeech.absolute().parent.parent.name
        if task not in ("lexical", "syntactic"):
            raise UserError(f"{args.zerospeech} is not below lexical or syntactic", "leave it where the archive has it")
        return zerospeech(args.zerospeech, task, read_streams(args.streams))
    if args.stories:
        return written_stories(read_jsonl(args.stories), args.seed)
    if args.mmlu:
        return [questions(read_jsonl(args.mmlu / "dev.jsonl"), read_jsonl(args.mmlu / "test.jsonl"), args.shots)]
    if args.join:
        return []
    if not (args.right and args.wrong):
        raise UserError("recorded stories need --right and --wrong: the units of both versions")
    right, wrong = read_streams([args.right]), read_streams([args.wrong])
    if args.whole:
        return [whole_stories(args.whole, right, wrong)]
    more = (args.right_speech, args.wrong_speech, args.right_words, args.wrong_words)
    if None in more:
        raise UserError("--cut needs --right-speech, --wrong-speech, --right-words and --wrong-words")
    return cut_stories(args.cut, cut_by_words((right, *more[::2]), (wrong, *more[1::2])))


if __name__ == "__main__":
    run_main(main)
