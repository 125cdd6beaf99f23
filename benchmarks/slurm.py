#!/usr/bin/env python3
"""What the controller costs while thousands of tasks go through a real Slurm in arrays, and how it treats Slurm.

    python benchmarks/slurm.py                       # 2,000 tasks; needs root and Debian's Slurm, see tests/slurm
    python benchmarks/slurm.py --tasks 100 --out /tmp
    python benchmarks/slurm.py --stand-in            # without Slurm: tests/slurm/fake_slurm.py

The tape has one task with N realizations, `echo $n > $out`. Its own cost is the user plus system time of the controller
process alone, which its jobs, squeue and sbatch are not part of; calls are counted by wrappers in front of PATH.
Results go to slurm-DATE.md in --out. Exit code 1: a limit of issue 4 is missed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "slurm"))
PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo")
OWN_LIMIT, RATE_LIMIT = 5.0, 1.0
# The controller writes down its own times and peak memory when it ends.
OWN = (
    "import atexit, resource, sys; used = lambda: resource.getrusage(resource.RUSAGE_SELF)[:3]; "
    "atexit.register(lambda: open('own.txt', 'w').write(' '.join(map(str, used())))); "
    "from ducttape.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


def counted(folder: Path, path: str) -> str:
    """A PATH whose Slurm programs write the time and their name to folder/calls first."""
    folder.mkdir()
    for name in PROGRAMS:
        real = shutil.which(name, path=path)
        if real is not None:
            log = f'date "+%s.%N {name} $1" >> "{folder}/calls"'
            (folder / name).write_text(f'#!/bin/sh\n{log}\nexec "{real}" "$@"\n')
            (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{path}"


def measure(folder: Path, tasks: int, environment: dict[str, str]) -> dict:
    """Run the tape and again with nothing to do; times in seconds, memory in MB."""
    (folder / "x.tape").write_text(
        f"global {{\n  ducttape_experimental_submitters=true\n}}\n"
        f"task a > out :: n=(N: 1..{tasks}) .submitter=slurm {{\n  echo $n > $out\n}}\n"
        "plan {\n  reach a via (N: *)\n}\n"
    )
    begin = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        command = [sys.executable, "-c", OWN, "x.tape", "-O", "out", "-y"]
        done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wall = time.monotonic() - begin
    if done.returncode != 0:
        sys.exit(f"the run failed:\n{(folder / 'log.txt').read_text()[-2000:]}")
    made = sum(1 for p in (folder / "out/a").glob("*/out") if not p.parent.is_symlink())
    user, system, peak = map(float, (folder / "own.txt").read_text().split())
    lines = [line.split(" ", 2) for line in (folder / "count/calls").read_text().splitlines()]
    # A task asks Slurm nothing, so all calls are the controller's.
    times = sorted(float(line[0]) for line in lines)
    return {
        "tasks": tasks,
        "made": made,
        "wall_seconds": round(wall, 1),
        "own_cpu_seconds": round(user + system, 2),
        "peak_mb": round(peak / 1024, 1),
        "calls": dict(Counter(line[1] for line in lines)),
        "calls_a_second": round(len(times) / wall, 2),
        "most_calls_in_a_second": max(sum(t <= u < t + 0.99 for u in times[i : i + 20]) for i, t in enumerate(times)),
    }


def report(result: dict, slurm: str, load: float) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    rows = [
        ("tasks made", f"{result['made']} of {result['tasks']}", ""),
        ("wall time, s", result["wall_seconds"], ""),
        ("the controller's own CPU, s", result["own_cpu_seconds"], OWN_LIMIT),
        ("the same for each task, ms", round(1000 * result["own_cpu_seconds"] / result["tasks"], 2), ""),
        ("its peak memory, MB", result["peak_mb"], ""),
        ("calls of Slurm", ", ".join(f"{n} {c}" for n, c in sorted(result["calls"].items())), ""),
        ("calls a second, on average", result["calls_a_second"], RATE_LIMIT),
        ("most calls in one second", result["most_calls_in_a_second"], int(RATE_LIMIT)),
    ]
    table = "".join(f"| {name} | {value} | {limit} |\n" for name, value, limit in rows)
    return (
        "# Many tasks through Slurm's arrays\n\nWritten by `benchmarks/slurm.py`; the limits are those of issue 4.\n\n"
        f"| | |\n|---|---|\n| date | {datetime.date.today()} |\n| cores | {os.cpu_count()} |\n"
        f"| system | {platform.system()} {platform.release()} |\n| Python | {platform.python_version()} |\n"
        f"| Slurm | {slurm} |\n| load at the start | {load:.1f} |\n| engine | {commit} |\n\n"
        f"| what | measured | limit |\n|---|---|---|\n{table}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--stand-in", action="store_true", help="use tests/slurm/fake_slurm.py")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}
        if options.stand_in:
            from fake_slurm import FakeSlurm

            slurm, words = FakeSlurm(folder / "slurm"), "the stand-in of tests/slurm"
            environment["PATH"] = f"{slurm.path}{os.pathsep}{environment['PATH']}"
        else:
            from real_slurm import RealSlurm, missing

            if reason := missing():
                sys.exit(reason)
            slurm, words = RealSlurm(folder / "slurm"), "22.05, two nodes on this machine, eight slots"
            environment |= slurm.environment
        try:
            environment["PATH"] = counted(folder / "count", environment["PATH"])
            result = measure(folder, options.tasks, environment)
        finally:
            slurm.close()
    print(json.dumps(result, indent=1))
    path = options.out / f"slurm-{datetime.date.today()}.md"
    path.write_text(report(result, words, load))
    kept = result["made"] == result["tasks"] and result["own_cpu_seconds"] <= OWN_LIMIT
    return 0 if kept and result["calls_a_second"] <= RATE_LIMIT and result["most_calls_in_a_second"] <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
