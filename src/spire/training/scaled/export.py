"""A sharded model as a Hugging Face directory, one tensor at a time.

Guarantees: no process holds more than one file's worth of weights beside its own rows; names, files and index are
those that transformers and vLLM read, the same for any number of processes.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed as dist

from spire.training.scaled.model import pad_rows, rows_of
from spire.training.scaled.optimizer import local
from spire.training.scaled.processes import Processes

# Bytes of weights in a file, as transformers cuts them.
FILE_BYTES = 5_000_000_000


@torch.no_grad()
def write_model(
    parameters: dict[str, torch.nn.Parameter],
    config: dict,
    dtype: torch.dtype,
    folder: Path,
    vocabulary,
    eos: int,
    processes: Processes,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Write sharded `parameters` as `dtype`, config, generation config and tokenizer into the existing `folder`."""
    plan = _plan(parameters, dtype, file_bytes)
    pending, weight_map = {}, {}
    for number, names in enumerate(plan, 1):
        file = "model.safetensors" if len(plan) == 1 else f"model-{number:05d}-of-{len(plan):05d}.safetensors"
        for name in names:
            whole = _whole(parameters[name], dtype, processes)
            if processes.is_main:
                pending[name], weight_map[name] = whole, file
        if processes.is_main:
            from safetensors.torch import save_file

            save_file(pending, folder / file, metadata={"format": "pt"})
            pending.clear()
    if not processes.is_main:
        return
    if len(plan) > 1:
        total = sum(p.numel() * dtype.itemsize for p in parameters.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", "utf-8")
    ends = {"bos_token_id": vocabulary.bos, "eos_token_id": eos, "pad_token_id": vocabulary.pad}
    described = {k: v for k, v in config.items() if k != "torch_dtype"} | ends
    described |= {"architectures": ["LlamaForCausalLM"], "dtype": str(dtype).removeprefix("torch.")}
    for name, content in (("config.json", described), ("generation_config.json", ends | {"do_sample": False})):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    vocabulary.save(folder, eos)


def _plan(parameters: dict[str, torch.nn.Parameter], dtype: torch.dtype, file_bytes: int) -> list[list[str]]:
    """Names of tensors, by file."""
    plan, size = [[]], 0
    for name, parameter in parameters.items():
        more = parameter.numel() * dtype.itemsize
        if plan[-1] and size + more > file_bytes:
            plan.append([])
            size = 0
        plan[-1].append(name)
        size += more
    return plan


def _whole(parameter: torch.Tensor, dtype: torch.dtype, processes: Processes) -> torch.Tensor | None:
    """All rows of a parameter on the CPU, in the main process; None in the others."""
    start, stop = rows_of(parameter.shape[0], processes)
    mine = local(parameter.detach()).to(dtype)
    if processes.count == 1:
        return mine.cpu().contiguous()
    each = -(-parameter.shape[0] // processes.count)
    parts = [torch.empty((each, *parameter.shape[1:]), dtype=dtype, device=mine.device) for _ in range(processes.count)]
    dist.all_gather(parts, pad_rows(mine, each).contiguous())
    return torch.cat(parts)[: parameter.shape[0]].cpu().contiguous() if processes.is_main else None
