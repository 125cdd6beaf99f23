"""Start a script under torchrun, on the nodes of a Slurm job or on this machine.

    srun --kill-on-bad-exit=1 python -m spire.training.scaled.launch train_cpt.py ...      # one task a node
    python -m spire.training.scaled.launch train_cpt.py ...                                # all GPUs of this machine

Guarantees: one process a GPU that this node may use (CUDA_VISIBLE_DEVICES), one where there is none; all nodes agree
on address and port, and two jobs on a node do not share a port; the program takes this one's place, so signals reach
it. MASTER_ADDR and MASTER_PORT, where set, are kept: for machines whose names do not resolve.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from spire.errors import UserError, run_main

# Seconds that processes have, after they were asked to end, for the update they are in and a checkpoint; Slurm asks
# three minutes before the end of a long job. torchrun's own would be 30.
PATIENCE = 170


def command(arguments: list[str], environment: Mapping[str, str], gpus: int | None = None) -> list[str]:
    """The words of torchrun's command. `gpus`: how many this machine has, where CUDA_VISIBLE_DEVICES does not say.

    Raises UserError in a Slurm job whose tasks are not one a node.
    """
    if not arguments:
        raise UserError("nothing to start", hint="give a script and its arguments")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    each = len([d for d in visible.split(",") if d.strip()]) if visible is not None else gpus or 0
    # "--", because torchrun would take --log of the script for an abbreviation of its own --log-dir.
    words = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={max(1, each)}"]
    words.append(f"--shutdown-timeout={PATIENCE}")
    nodes = environment.get("SLURM_NNODES")
    if nodes is None or "SLURM_NODEID" not in environment:
        return [*words, "--standalone", "--", *arguments]
    if environment.get("SLURM_NTASKS", nodes) != nodes:
        raise UserError(
            f"{environment['SLURM_NTASKS']} tasks on {nodes} node(s): there must be one launcher a node",
            hint="set .nodes and .ntasks to the same number",
        )
    port = environment.get("MASTER_PORT") or str(20000 + int(environment["SLURM_JOB_ID"]) % 20000)
    address = environment.get("MASTER_ADDR") or _first_host(environment["SLURM_JOB_NODELIST"])
    where = [f"--nnodes={nodes}", f"--node-rank={environment['SLURM_NODEID']}"]
    return [*words, *where, f"--master-addr={address}", f"--master-port={port}", "--", *arguments]


def _first_host(nodes: str) -> str:
    try:
        done = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise UserError(f"scontrol cannot name the nodes {nodes}: {e}", hint="set MASTER_ADDR") from None
    return done.stdout.split()[0]


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    words = command(arguments, os.environ, None if "CUDA_VISIBLE_DEVICES" in os.environ else _gpus())
    # torchrun allots one thread to each process and says so at length, unless told.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execv(words[0], words)


if __name__ == "__main__":
    run_main(main)
