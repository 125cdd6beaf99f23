"""Plot loss and word error rate over the steps of continued pretraining."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.files import replaced_folder
from spire.tables.plots import write_plots


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-log", required=True, type=Path, help="JSONL with step and loss")
    parser.add_argument("--probes", required=True, type=Path, help="JSONL with step and wer, in percent")
    parser.add_argument("--out", required=True, type=Path, help="folder of plots; replaced when it exists")
    arguments = parser.parse_args(argv)
    with replaced_folder(arguments.out) as folder:
        write_plots(arguments.train_log, arguments.probes, folder)
    return 0


if __name__ == "__main__":
    run_main(main)
