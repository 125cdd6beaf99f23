"""The processes of a run: who they are, which device each has, and what they tell each other.

Guarantees: the same command is one process when started alone and as many as `torchrun` (or srun) says when started by
it; a process that was started alone opens no port and needs no network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

from spire.errors import UserError

# A checkpoint of a 7B model is verified by its readers while the others wait.
_PATIENCE = timedelta(minutes=60)


class Processes:
    """The process group. Attributes: rank, count, device (cuda where there is one, else cpu), mesh (1-D)."""

    def __init__(self, threads: int = 1):
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        started = [n for n in names if os.environ.get(n)]
        if started and len(started) < len(names):
            raise UserError(
                f"{', '.join(started)} set, but not {', '.join(n for n in names if n not in started)}",
                hint="start several processes with torchrun, or unset these variables for one",
            )
        if torch.cuda.is_available():
            local = int(os.environ.get("LOCAL_RANK", 0))
            if local >= torch.cuda.device_count():
                raise UserError(
                    f"process {local} of this node has no GPU, there are {torch.cuda.device_count()}",
                    hint="torchrun --nproc-per-node must not exceed the GPUs of a node (.gpus)",
                )
            self.device = torch.device("cuda", local)
            torch.cuda.set_device(self.device)
        else:
            self.device = torch.device("cpu")
            torch.set_num_threads(threads)
        self._own = not dist.is_initialized()
        if self._own:
            # "cpu:gloo" beside NCCL: flags and counts are exchanged without touching the GPU.
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            if started:
                dist.init_process_group(backend, timeout=_PATIENCE)
            else:
                dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=_PATIENCE)
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.mesh = dist.device_mesh.init_device_mesh(self.device.type, (self.count,))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process. Also a barrier."""
        value = torch.tensor([int(flag)])
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def share(self, value):
        """The main process's `value` (anything JSON can hold) in all processes."""
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8) if self.is_main else None
        size = torch.tensor([len(text) if text is not None else 0])
        dist.broadcast(size, 0)
        text = text if text is not None else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(text, 0)
        return json.loads(bytes(text.tolist()))

    def first_main(self, work: Callable[[], object]) -> None:
        """Let the main process do `work` while the others wait. When it fails, all end: the main one with its error,
        the others with exit code 1 and without a word.
        """
        failure: BaseException | None = None
        if self.is_main:
            try:
                work()
            except (Exception, SystemExit) as e:
                failure = e
        if self.any(failure is not None):
            raise failure or SystemExit(1)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of `values` over all processes, in place: on the device, or on the CPU."""
        dist.all_reduce(values)
        return values

    def close(self) -> None:
        """End the process group, unless it was there before."""
        if self._own and dist.is_initialized():
            dist.destroy_process_group()
