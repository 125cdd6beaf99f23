"""Everything at once, on the stand-in: controllers killed, nodes crashing or cut off, preemption, answers that lie.

The final tree is that of an undisturbed run, no directory has ever had two attempts in it, and nothing is left running
or waiting. SLURM_TORTURE_SEEDS says how many seeds; 40 were run when this was written.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_by_hand import make, task
from tapes_by_hand import environment

pytestmark = pytest.mark.slow
SEEDS = int(os.environ.get("SLURM_TORTURE_SEEDS", "4"))
LIES = {
    "sbatch": ["socket", "done_but_error", "done_but_empty", "retry", "warn_stdout", "duplicate", "fail"],
    "squeue": ["empty", "socket", "fail", "reverse", "truncate", "duplicate", "warn_stdout", "warn_stderr"],
    "scontrol": ["socket", "empty"],
}
# The body finds out when another one writes into its directory.
BODY = """
  me=$SLURM_JOB_ID.$RANDOM$RANDOM.$$
  echo "$me" >> mine
  {inputs} > half
  sleep 0.$((RANDOM % 6))
  # Nothing: another attempt was first, and this one's directory has gone.
  now=$(cat mine)
  [ "$now" = "$me" ] || {{ [ -z "$now" ] || echo "$me $now" >> "$MIXED"; exit 99; }}
  {{ cat half; echo "$TASK"; }} > $out
"""


def plan() -> list:
    """Twelve tasks: five chains of two, and two tasks that need all of them."""
    own = {"requeue": 1000, "params": {}}
    tasks = [task("a", BODY.format(inputs=f"echo {i}"), real=f"N.{i}", **own) for i in range(5)]
    for i in range(5):
        tasks.append(task("b", BODY.format(inputs="cat $x"), {"x": ("a", "out", f"N.{i}")}, real=f"N.{i}", **own))
    every = {"x": [("b", "out", f"N.{i}") for i in range(5)]}
    tasks += [task(name, BODY.format(inputs="cat $x"), every, **own) for name in ("c", "d")]
    return tasks


def expected() -> dict[str, str]:
    found = {f"a/N.{i}": f"{i}\na\n" for i in range(5)} | {f"b/N.{i}": f"{i}\na\nb\n" for i in range(5)}
    together = "".join(f"{i}\na\nb\n" for i in range(5))
    return found | {f"{name}/Baseline.baseline": f"{together}{name}\n" for name in ("c", "d")}


def controller(base: Path, log: Path) -> subprocess.Popen:
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_slurm_torture as t; t.run({str(base)!r})"
    with open(log, "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )


def run(base: str) -> None:
    outcome = make(Path(base), *plan())
    for failure in outcome.failed:
        print("failed", failure.key, failure.reason)
    sys.exit(0 if outcome.ok else 1)


def disturb(slurm, chance: random.Random) -> None:
    running = [job["id"] for job in slurm.jobs() if job["state"] == "RUNNING"]
    what = chance.choice(["lie", "lie", "kill-node", "lose-node", "preempt", "requeue", "late"])
    if what == "lie":
        command = chance.choice(list(LIES))
        slurm.lie(command, chance.choice(LIES[command]), times=chance.randint(1, 4), seconds=0.1)
    elif what == "late":
        slurm.set(invisible=chance.choice([0, 0.5]))
    elif what in ("kill-node", "lose-node"):
        node = chance.choice(["n0", "n1"])
        slurm.tell(what, node)
        time.sleep(chance.uniform(0, 0.6))
        slurm.tell("start-node", node)
    elif running:
        job = chance.choice(running)
        if what == "preempt":
            slurm.tell("preempt", job)
        else:
            subprocess.run(["scontrol", "requeue", job], capture_output=True, timeout=30)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_final_tree_is_that_of_an_undisturbed_run(fake_slurm, tmp_path, monkeypatch, seed):
    monkeypatch.setenv("MIXED", str(tmp_path / "mixed"))
    fake_slurm.set(requeue_delay=0.1, detect=0.2, kill_wait=0.3, jobcomp=bool(seed % 2), accounting=seed % 3 == 0)
    chance, base, log = random.Random(seed), tmp_path / "out", tmp_path / "log"
    killed = 0
    for _ in range(chance.randint(2, 5)):
        running = controller(base, log)
        deadline = time.monotonic() + chance.uniform(0.3, 3.0)
        while time.monotonic() < deadline and running.poll() is None:
            time.sleep(chance.uniform(0.05, 0.4))
            disturb(fake_slurm, chance)
        killed += running.poll() is None
        running.send_signal(signal.SIGKILL)
        running.wait()
    fake_slurm.be_honest()
    fake_slurm.set(invisible=0)
    jobs, lies = fake_slurm.jobs(), sum(bool(call["lies"]) for call in fake_slurm.calls())
    again = sum(job["restarts"] for job in jobs)
    print(f"{killed} controllers killed, {lies} lies told, {again} restarts of {len(jobs)} jobs")
    # A lie may have made a task fail with good reason; the same command carries on.
    codes = []
    while not codes or (codes[-1] and len(codes) < 3):
        last = controller(base, log)
        try:
            codes.append(last.wait(timeout=90))
        finally:
            last.kill()
    assert codes[-1] == 0, log.read_text()[-3000:]
    found = {str(p.parent.relative_to(base)): p.read_text() for p in base.glob("*/*/out")}
    assert found == expected()
    assert not (tmp_path / "mixed").exists(), (tmp_path / "mixed").read_text()
    assert not list(base.glob("*/*.attempts"))
    assert not [job for job in fake_slurm.jobs() if job["state"] == "PENDING"]
