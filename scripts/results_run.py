"""Describe the run behind the results: machine, versions, date, CPU seconds by task."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from spire.errors import UserError, run_main
from spire.tables.run_report import describe_run, run_markdown
from spire.textfiles import read_text, write_json, write_text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--report", required=True, help="JSON list of tasks from `ducttape ... report --json`, - for stdin"
    )
    parser.add_argument("--date", help="ISO date; default the UTC day on which the last task ended")
    parser.add_argument("--out", required=True, type=Path, help="folder that gets run.json and run.md")
    arguments = parser.parse_args(argv)
    text = sys.stdin.read() if arguments.report == "-" else read_text(Path(arguments.report))
    try:
        tasks = json.loads(text)
    except json.JSONDecodeError as e:
        where = "standard input" if arguments.report == "-" else arguments.report
        raise UserError(f"{where}:{e.lineno}:{e.colno}: not JSON: {e.msg}") from None
    run = describe_run(tasks, arguments.date)
    write_json(arguments.out / "run.json", run)
    write_text(arguments.out / "run.md", run_markdown(run))
    return 0


if __name__ == "__main__":
    run_main(main)
