"""A training state on disk, one safetensors file a process, to be read by any number of processes.

    state-00003.safetensors     "model.norm.weight|values|96": rows from 96 on; "|first|", "|second|": the moments

Guarantees: what N processes wrote, M processes read, number for number; only safetensors is read. torch's own
distributed checkpoints do the same for any layout, but describe it in a pickle, which nothing here may read.
"""

from __future__ import annotations

from pathlib import Path

import torch

from spire.errors import UserError
from spire.training.scaled.model import rows_of
from spire.training.scaled.optimizer import ShardedAdamW, local
from spire.training.scaled.processes import Processes

_PARTS = ("values", "first", "second")


def _tensors(optimizer: ShardedAdamW) -> dict[str, dict[str, torch.Tensor]]:
    values = {n: local(p.detach()) for n, p in optimizer.parameters.items()}
    return {"values": values, "first": optimizer.first, "second": optimizer.second}


def write_state(folder: Path, optimizer: ShardedAdamW, processes: Processes) -> list[str]:
    """Write this process's file; returns its name. Raises OSError."""
    from safetensors.torch import save_file

    tensors = {}
    for part, named in _tensors(optimizer).items():
        for name, tensor in named.items():
            start, stop = rows_of(optimizer.parameters[name].shape[0], processes)
            if start < stop:
                tensors[f"{name}|{part}|{start}"] = tensor.contiguous()
    path = folder / f"state-{processes.rank:05d}.safetensors"
    save_file(tensors, path, metadata={"updates": str(optimizer.updates), "processes": str(processes.count)})
    return [path.name]


@torch.no_grad()
def read_state(folder: Path, optimizer: ShardedAdamW, processes: Processes) -> None:
    """Take up a state, whoever wrote it. Raises UserError when a row is missing."""
    from safetensors import safe_open

    into = _tensors(optimizer)
    left = {(part, n): len(t) for part, named in into.items() for n, t in named.items()}
    for path in sorted(folder.glob("state-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            optimizer.updates = int(file.metadata()["updates"])
            for key in file.keys():  # noqa: SIM118 - not a dict
                name, part, begin = key.split("|")
                if name not in optimizer.parameters:
                    continue
                start, stop = rows_of(optimizer.parameters[name].shape[0], processes)
                theirs = file.get_slice(key)
                begin = int(begin)
                a, b = max(start, begin), min(stop, begin + theirs.get_shape()[0])
                if a < b:
                    into[part][name][a - start : b - start].copy_(theirs[a - begin : b - begin])
                    left[part, name] -= b - a
    if missing := sorted(f"{name} ({part})" for (part, name), rows in left.items() if rows):
        raise UserError(f"{folder}: the state lacks rows of {missing[0]} and {len(missing) - 1} more")
