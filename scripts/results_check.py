"""Check published results against what the studies must show; exit 1 when any condition fails."""

from __future__ import annotations

import argparse
from pathlib import Path

from spire.errors import UserError, run_main
from spire.tables.check import conditions, cost_condition
from spire.tables.collect import read_scores
from spiritlm.tables.check import folder_conditions


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, help="results/scores.csv")
    parser.add_argument("--report", type=Path, help="results/run.json; adds the limit on CPU seconds")
    parser.add_argument("--spiritlm", type=Path, metavar="FOLDER", help="results/spiritlm: what that study must show")
    arguments = parser.parse_args(argv)
    if not (arguments.scores or arguments.spiritlm):
        raise UserError("nothing to check", "give --scores, --spiritlm, or both")
    found = conditions(read_scores(arguments.scores)) if arguments.scores else []
    if arguments.report:
        found.append(cost_condition(arguments.report))
    if arguments.spiritlm:
        found += folder_conditions(arguments.spiritlm)
    for condition in found:
        print(condition)
    failed = sum(not condition.passed for condition in found)
    print(f"{len(found) - failed} of {len(found)} conditions hold")
    return 1 if failed else 0


if __name__ == "__main__":
    run_main(main)
