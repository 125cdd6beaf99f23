"""What a job asks of the machine that it runs on: its name, its processes, and whether memory ran out."""

from __future__ import annotations

import os


def oom_kills() -> int:
    """How many processes of this control group the kernel has killed for want of memory; 0 where it does not tell."""
    total = 0
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as f:
            groups = [line.strip().split(":", 2) for line in f]
    except OSError:
        return 0
    for _, controllers, path in groups:
        if controllers == "":
            file = f"/sys/fs/cgroup{path}/memory.events"
        elif "memory" in controllers.split(","):
            file = f"/sys/fs/cgroup/memory{path}/memory.oom_control"
        else:
            continue
        try:
            with open(file, encoding="utf-8") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("oom_kill "))
        except (OSError, ValueError, IndexError):
            continue
    return total


def host() -> str:
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename


def boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """As `locks.process_start`: in clock ticks since boot."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            stat = f.read()
    except OSError:
        return None
    return stat[stat.rindex(b")") + 2 :].split()[19].decode()
