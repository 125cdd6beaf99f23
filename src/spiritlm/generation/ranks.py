"""Items shared out over the processes of a job, which torchrun or srun started (spiritlm 8).

Guarantees: every item is computed by exactly one process and the joined rows are in the order of the items, so their
bytes do not depend on the number of processes. Nothing is sent between them: each writes a file beside the output, and
the first waits for all of these. A part that an earlier attempt finished, for the same items and settings, is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spire.datasets.shards import Shard
from spire.errors import UserError
from spire.textfiles import read_json, write_json

_NAMES = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"))
WAIT = 24 * 3600.0  # seconds; a launcher ends all processes when one of them fails


@dataclass(frozen=True)
class Ranks:
    """Which process of how many this is, and which of its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """As torchrun says it, else as a step of srun does (a job without srun is one process)."""
        for rank, world, local in _NAMES:
            if rank in environment and world in environment:
                if rank == "SLURM_PROCID" and environment.get("SLURM_STEP_ID", "") in ("", "4294967291"):
                    continue
                return cls(int(environment[rank]), int(environment[world]), int(environment.get(local, 0)))
        return cls()

    def device(self, wanted: str) -> str:
        """`wanted`, with a GPU of its own for each process of a machine where it is auto or cuda."""
        if wanted not in ("auto", "cuda") or self.world == 1:
            return wanted
        import torch

        count = torch.cuda.device_count()
        return f"cuda:{self.local % count}" if count else wanted

    def gpus(self, each: int, visible: str | None, count: int) -> str:
        """CUDA_VISIBLE_DEVICES for this process with `each` GPUs, from what it is set to (None: not) and the number of
        GPUs there are. UserError: too few."""
        names = [str(i) for i in range(count)] if visible is None else [n for n in visible.split(",") if n]
        # A launcher that binds GPUs has given each process its own already.
        first = self.local * each if len(names) > each else 0
        if len(names) < first + each:
            raise UserError(
                f"process {self.local} of this machine wants {each} GPUs, and it sees {len(names)}",
                hint="start fewer processes a node, or share models among fewer GPUs",
            )
        return ",".join(names[first : first + each])


def shared(
    items: Sequence,
    compute: Callable[[Sequence], list[dict]],
    out: str | Path,
    settings: Mapping[str, object],
    ranks: Ranks,
    wait: float = WAIT,
) -> list[dict] | None:
    """The rows of all items, one each, on the first process; None on the others. `compute` gets this process's part.

    `out` names the folder of the parts (`OUT.parts`, removed when joined); `settings` and the items (JSON) tell parts
    of other runs apart. UserError: `compute` gave another number of rows, or parts did not come within `wait` seconds.
    """
    if ranks.world == 1:
        return _counted(compute(items), len(items), "this process")
    asked = json.dumps([settings, list(items)], sort_keys=True, default=str)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    folder = Path(out).with_name(f"{Path(out).name}.parts")
    places = [folder / f"{Shard(i + 1, ranks.world).stem('part')}.json" for i in range(ranks.world)]
    first, last = Shard(ranks.rank + 1, ranks.world).cut(len(items))
    if _part(places[ranks.rank], digest) is None:
        rows = _counted(compute(items[first:last]), last - first, f"process {ranks.rank}")
        write_json(places[ranks.rank], {"of": digest, "rows": rows})
    if ranks.rank:
        return None
    deadline = time.monotonic() + wait
    while absent := [place.name for place in places if _part(place, digest) is None]:
        if time.monotonic() > deadline:
            raise UserError(f"{folder}: no {', '.join(absent[:3])} after {wait:.0f} s", hint="run the same job again")
        time.sleep(0.2)
    joined = [row for place in places for row in _part(place, digest)]
    shutil.rmtree(folder, ignore_errors=True)
    return _counted(joined, len(items), str(folder))


def _part(place: Path, digest: str) -> list[dict] | None:
    if not place.exists():
        return None
    found = read_json(place)
    return found["rows"] if isinstance(found, dict) and found.get("of") == digest else None


def _counted(rows: list[dict], count: int, where: str) -> list[dict]:
    if len(rows) != count:
        raise UserError(f"{where}: {len(rows)} rows for {count} items")
    return rows
