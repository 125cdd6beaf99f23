"""Score every hypothesis file of one model: one JSON file a cell, and WER by speaker."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.scoring.bootstrap import RESAMPLES
from spire.scoring.score import score_folder


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="name of the model, as it appears in the tables")
    parser.add_argument("--hypotheses", required=True, type=Path, help="folder of <mode>.<test_set>.<src>-<tgt>.txt")
    parser.add_argument(
        "--manifest", action="extend", nargs="+", default=[], metavar="NAME=FILE", help="a speech test set"
    )
    parser.add_argument("--sentences", type=Path, help="text test set, called `test`")
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--bleu-tokenizer", default="13a", help="flores200 is SPIRE's and needs a download")
    parser.add_argument("--out", required=True, type=Path, help="folder of score files; replaced when it exists")
    arguments = parser.parse_args(argv)
    cells = score_folder(
        arguments.model,
        arguments.hypotheses,
        _named(arguments.manifest),
        arguments.sentences,
        arguments.out,
        arguments.seed,
        arguments.resamples,
        arguments.bleu_tokenizer,
    )
    for cell in cells:
        name = f"{cell.mode}.{cell.test_set}.{cell.language_pair}"
        print(f"{name:28} {cell.metric:5} {cell.value:7.2f}  [{cell.ci_low:.2f}, {cell.ci_high:.2f}]  n {cell.n}")
    return 0


def _named(items: list[str]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not (name and separator and path):
            raise UserError(f"--manifest {item}: expected NAME=FILE")
        if name in named:
            raise UserError(f"--manifest {name}=...: given twice")
        named[name] = Path(path)
    return named


if __name__ == "__main__":
    run_main(main)
