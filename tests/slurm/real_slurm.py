"""A real Slurm of two nodes on this machine, from Debian's packages, for tests and benchmarks (slurm_local.sh)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
_SCRIPT = Path(__file__).with_name("slurm_local.sh")


ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}


def missing(accounting: bool = False) -> str | None:
    """What keeps a real Slurm from running here, as a sentence for a skipped test."""
    places = os.pathsep.join(["/usr/sbin", "/usr/bin", os.environ.get("PATH", "")])
    wanted = PACKAGES | (ACCOUNTING if accounting else {})
    absent = [package for program, package in wanted.items() if not shutil.which(program, path=places)]
    if absent:
        return f"Slurm is not installed: apt-get install {' '.join(absent)}"
    return "starting slurmctld and slurmd needs root" if os.geteuid() != 0 else None


class RealSlurm:
    """Started by its constructor. `environment` is what clients need; `settings` are the script's SLURM_LOCAL_*."""

    def __init__(self, folder: Path, **settings):
        self.folder = Path(folder)
        # A port of its own for slurmctld and the two that follow it for the nodes, so that several can run at once.
        self._settings = {f"SLURM_LOCAL_{k.upper()}": str(v) for k, v in {"port": _ports(4), **settings}.items()}
        self._script("up")
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def close(self) -> None:
        self._script("down")

    def kill_node(self, number: int) -> None:
        """As a crash: the daemon and all its jobs' processes."""
        self._script("kill-node", str(number))

    def kill_daemon(self, number: int) -> None:
        """The daemon alone: the node is lost, and what runs there goes on."""
        self._script("kill-daemon", str(number))

    def start_node(self, number: int) -> None:
        self._script("start-node", str(number))

    def run(self, *command: str) -> str:
        """A client command; what it printed."""
        env = {**os.environ, **self.environment}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that slurmctld remembers, one row a task: JobState, Restarts, ArrayTaskId, Comment, ..."""
        lines = self.run("scontrol", "show", "job", "-o").splitlines()
        return [dict(w.split("=", 1) for w in line.split() if "=" in w) for line in lines if line.startswith("JobId=")]

    def idle(self) -> set[str]:
        """The nodes that are up and have nothing to do."""
        return set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())

    def _script(self, verb: str, *more: str) -> None:
        command = ["bash", str(_SCRIPT), verb, str(self.folder), *more]
        # Not a pipe: the daemons would keep it open.
        with open(self.folder.with_suffix(".log"), "ab") as log:
            done = subprocess.run(
                command,
                env={**os.environ, **self._settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=120,
            )
        assert done.returncode == 0, self.folder.with_suffix(".log").read_text()


def _ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    for first in range(20000 + os.getpid() % 5000 * 2, 60000, count):
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports")
