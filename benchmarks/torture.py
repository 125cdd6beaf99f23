#!/usr/bin/env python3
"""Kills controllers, tasks and supervisors at random instants, hundreds of times, and looks at what is left.

    python benchmarks/torture.py --rounds 200 --seed 1

Each round runs one small study to its end through several such kills, with one to three controllers on the same output
directory, and then demands that
- the same command, without any flag, finishes, and the outputs equal those of an undisturbed run;
- no task ever read an input that was cut off (every producer writes slowly and seals its output at the end);
- no task that was complete was run again (its body notes every start), and none ran twice at the same time;
- nothing is left behind: no process, no lock, no attempt.
One line a round; exit code 1 and the seed of the round when one of these does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TAPE = """
task make > out :: x=(X: 1 2 3) log=$log {
  echo "start make/$REALIZATION" >> $log
  if grep -q "^State:.[RSD]" /proc/$(cat $log.$REALIZATION 2> /dev/null)/status 2> /dev/null; then
    echo "TWICE make/$REALIZATION" >> $log
  fi
  echo $$ > $log.$REALIZATION
  for i in 1 2 3 4 5; do echo "$x $i" >> $out; sleep 0.02; done
  echo sealed >> $out
}

task fold < in=$out@make > dir :: y=(Y: p q) log=$log .retries=2 .retry_delay=0.05 {
  echo "start fold/$REALIZATION" >> $log
  if [ "$(tail -n 1 $in)" != sealed ]; then echo "CUT OFF $in" >> $log; fi
  mkdir $dir
  for i in 1 2 3; do
    cp $in $dir/$i
    echo "$y" >> $dir/$i
    sleep 0.02
  done
  echo sealed > $dir/seal
}

task count < in=$dir@fold > sum :: log=$log .resume=yes {
  echo "start count/$REALIZATION" >> $log
  if [ ! -e $in/seal ]; then echo "CUT OFF $in" >> $log; fi
  for earlier in $DUCTTAPE_PREVIOUS; do
    if [ -e $earlier/steps ]; then cp $earlier/steps steps; break; fi
  done
  touch steps
  while [ $(wc -l < steps) -lt 5 ]; do echo step >> steps; sleep 0.02; done
  { cat $in/*; wc -l < steps; } > $sum
}

plan {
  reach count via (X: *) * (Y: *)
}
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}


def command(log: Path) -> list[str]:
    return [sys.executable, "-P", "-m", "ducttape", "x.tape", "-O", "out", "-D", f"log={log}", "-y", "-j3"]


def start(folder: Path) -> subprocess.Popen:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(folder / "log"), cwd=folder, text=True, env=environment(), **pipes)


def outputs(folder: Path) -> dict[str, bytes]:
    """What the tasks made, without the engine's own files and what was only on the way."""
    found = {}
    for path in sorted((folder / "out").rglob("*")):
        name = path.relative_to(folder / "out").as_posix()
        own = name.startswith(".") or path.name.startswith("ducttape") or path.name == "steps"
        if path.is_file() and not own:
            found[name] = path.read_bytes()
    return found


def marks(folder: Path) -> list[dict]:
    """The processes of all task bodies that were ever started and not cleared away."""
    found = []
    for path in (folder / "out").rglob("ducttape_start.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def is_alive(pid: int, started: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0] not in "ZX" and fields[19] == started


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def strike(folder: Path, controllers: list[subprocess.Popen], chance: random.Random) -> str:
    """Kill something; its name."""
    victim = chance.choice(controllers)
    bodies = [mark["pid"] for mark in marks(folder) if is_alive(mark["pid"], mark["pid_start"])]
    kind = chance.choice(("controller", "controller", "task", "both", "supervisor and controller", "terminate", "all"))
    if kind in ("task", "both", "all") and bodies:
        kill(chance.choice(bodies))
        time.sleep(chance.random() * 0.03)
    if kind == "supervisor and controller":
        for child in children(victim.pid):
            if child not in bodies:
                kill(child)
    if kind == "terminate":
        victim.send_signal(chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
    elif kind == "all":
        for controller in controllers:
            controller.kill()
    elif kind != "task":
        victim.kill()
    return kind


def disturbed(folder: Path, chance: random.Random) -> Counter:
    """Start and kill a few times; how often what was killed."""
    struck: Counter = Counter()
    for _ in range(chance.randint(2, 5)):
        controllers = [start(folder) for _ in range(chance.randint(1, 3))]
        for _ in range(chance.randint(1, 2)):
            time.sleep(0.1 + chance.random() * 0.6)
            struck[strike(folder, controllers, chance)] += 1
        if chance.random() < 0.5:
            for controller in controllers:
                controller.kill()
        for controller in controllers:
            controller.communicate(timeout=60)
    return struck


def problems(folder: Path, expected: dict[str, bytes], complete: dict[str, int]) -> list[str]:
    """What does not hold after the last, undisturbed run."""
    found = []
    if outputs(folder) != expected:
        made = outputs(folder)
        different = sorted(n for n in {*made, *expected} if made.get(n) != expected.get(n))
        found.append(f"outputs differ: {', '.join(different)}")
    log = (folder / "log").read_text().splitlines()
    found += sorted({line for line in log if line.startswith(("CUT OFF", "TWICE"))})
    for name, before in complete.items():
        if Counter(log)[f"start {name}"] != before:
            found.append(f"{name} was complete and ran again")
    found += [f"process {m['pid']} is left" for m in marks(folder) if is_alive(m["pid"], m["pid_start"])]
    found += [f"{p.name} is left" for p in (folder / "out").glob("*/*") if p.name.endswith((".LOCK", ".attempts"))]
    return found


def finished(folder: Path) -> dict[str, int]:
    """The tasks that are complete now, and how often each was started until now."""
    log = Counter((folder / "log").read_text().splitlines()) if (folder / "log").exists() else Counter()
    records = (folder / "out").glob("*/*/ducttape_record.json")
    names = [f"{p.parent.parent.name}/{p.parent.name}" for p in records if not p.parent.is_symlink()]
    return {name: log[f"start {name}"] for name in names}


def one_round(folder: Path, expected: dict[str, bytes], seed: int) -> tuple[Counter, list[str]]:
    chance = random.Random(seed)
    folder.mkdir()
    (folder / "x.tape").write_text(TAPE)
    struck = disturbed(folder, chance)
    complete = finished(folder)
    last = start(folder)
    said = last.communicate(timeout=120)[1]
    found = problems(folder, expected, complete)
    if last.returncode != 0:
        found.insert(0, f"the last run ended with {last.returncode}: {said[-2000:]}")
    return struck, found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="kill everything at random instants and look at what is left")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next one has the next seed")
    options = parser.parse_args(argv)
    total: Counter = Counter()
    with tempfile.TemporaryDirectory(prefix="torture-") as base:
        calm = Path(base) / "calm"
        calm.mkdir()
        (calm / "x.tape").write_text(TAPE)
        if start(calm).wait(120) != 0:
            print("the undisturbed run failed", file=sys.stderr)
            return 1
        expected = outputs(calm)
        for number in range(options.rounds):
            seed = options.seed + number
            folder = Path(base) / str(seed)
            struck, found = one_round(folder, expected, seed)
            total += struck
            print(
                f"round {number + 1} (seed {seed}): {sum(struck.values())} kills, {'; '.join(found) or 'fine'}",
                flush=True,
            )
            if found:
                print(f"hint: python benchmarks/torture.py --rounds 1 --seed {seed}", file=sys.stderr)
                return 1
            shutil.rmtree(folder)
    kinds = ", ".join(f"{count} {kind}" for kind, count in total.items())
    print(f"{options.rounds} rounds, {sum(total.values())} kills ({kinds}): fine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
