"""Write the prompts of every decoding job: speech test sets from their units, the text test set from its sentences.

    python scripts/decode_prompts.py --style chat --units units/ --manifest seen=seen/manifest.jsonl \\
        --sentences speech_test.jsonl --seed 1 --out prompts/
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from spire.corpora.jobs import MODES, TEXT_SET, make_style, pick_shots, write_jobs
from spire.corpora.prompts import BASE, CHAT, language, load_templates
from spire.errors import UserError, run_main
from spire.textfiles import read_jsonl


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", choices=("chat", "base"), required=True, help="instruct or pretrained models")
    parser.add_argument(
        "--manifest", action="extend", nargs="+", default=[], metavar="NAME=FILE", help="a speech test set"
    )
    parser.add_argument("--units", type=Path, help="folder with NAME.units for each manifest")
    parser.add_argument("--sentences", type=Path, help=f"text test set by language code, called `{TEXT_SET}`")
    parser.add_argument("--targets", default="de,fr", help="languages to translate into (default de,fr)")
    parser.add_argument("--modes", default=",".join(MODES), help="which jobs to prepare (default all)")
    parser.add_argument("--prompts", type=Path, help="JSON file of templates in place of the built-in ones")
    parser.add_argument("--shots", type=int, default=0, help="solved MT examples before each base-style question")
    parser.add_argument("--shots-from", type=Path, help="sentences by language code that the examples are drawn from")
    parser.add_argument("--seed", type=int, default=1, help="of the shuffled control and of the choice of shots")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    args = parser.parse_args(argv)
    manifests = _named(args.manifest)
    if manifests and args.units is None:
        raise UserError("--manifest without --units", hint="give the folder that units_label.py wrote")
    targets = args.targets.replace(",", " ").split()
    for target in targets:
        language(target)
    modes = args.modes.replace(",", " ").split()
    for mode in modes:
        if mode not in MODES:
            raise UserError(f"unknown mode {mode!r}", hint="modes: " + " ".join(MODES))
    style = make_style(args.style, load_templates(args.prompts, CHAT if args.style == "chat" else BASE))
    if args.shots:
        if args.style != "base" or args.shots_from is None:
            raise UserError("--shots needs --style base and --shots-from FILE")
        style.shots = pick_shots(read_jsonl(args.shots_from), args.shots, targets, args.seed)
    for job in write_jobs(args.out, style, manifests, args.units, args.sentences, targets, modes, args.seed):
        print(f"{job['name']:28} {job.get('count', 'second stage'):>6}  {job.get('empty') or 0} empty")
    return 0


def _named(items: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not separator or not path or not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in (TEXT_SET, *named):
            raise UserError(
                f"--manifest {item}: expected NAME=FILE, each name once",
                hint=f"a name has letters, digits, - and _, and is not {TEXT_SET!r}",
            )
        named[name] = Path(path)
    return named


if __name__ == "__main__":
    run_main(main)
