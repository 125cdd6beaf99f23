"""Check collected scores against what the study must show; exit 1 when any condition fails."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import run_main
from spire.tables.check import conditions, read_cpu_seconds
from spire.tables.collect import read_scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", required=True, type=Path, help="results/scores.csv")
    parser.add_argument("--report", type=Path, help="results/run.json; adds the limit on CPU seconds")
    arguments = parser.parse_args(argv)
    cpu_seconds = read_cpu_seconds(arguments.report) if arguments.report else None
    found = conditions(read_scores(arguments.scores), cpu_seconds)
    for condition in found:
        print(condition)
    failed = sum(not condition.passed for condition in found)
    print(f"{len(found) - failed} of {len(found)} conditions hold")
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
