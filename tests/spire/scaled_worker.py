"""Small runs of the scaled engine, in this process or in several (this file is their program)."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 101,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
STEPS, SAVED = 6, 3


class NoVocabulary:
    """Stands where an export wants a tokenizer."""

    bos, pad = 1, 2

    def save(self, folder, eos=None):
        (Path(folder) / "saved").touch()


def corpus(lines=150, seed=0):
    """A TokenCorpus of random tokens in three blocks, with targets of both kinds."""
    from spire.training.data import TokenCorpus

    draw = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(draw.integers(2, 60, lines)))).astype(np.int64)
    tokens = draw.integers(0, CONFIG["vocab_size"], offsets[-1]).astype(np.int32)
    kinds = draw.integers(0, 3, offsets[-1]).astype(np.uint8)
    return TokenCorpus(tokens, kinds, offsets, draw.integers(0, 3, lines).astype(np.uint8), ["a", "b", "c"])


def settings():
    from spire.training.settings import Settings

    return Settings(steps=STEPS, tokens_per_step=700, lr=1e-2, unit_weight=0.3, precision="fp32")


def engine(processes, config=None, **more):
    from spire.training.scaled.engine import ScaledEngine

    return ScaledEngine(config or CONFIG, settings(), processes, **({"length": 128} | more))


def steps(engine, first=0, last=STEPS):
    """[loss, gradient norm] of each step, exactly."""
    from spire.training.data import batches

    source, seen = batches(corpus(), 700, 1), []
    for step in range(last):
        batch = next(source)
        if step >= first:
            loss = float(engine.forward_backward(batch).loss)
            seen.append([loss, engine.step(1e-2, 0.1)])
    return seen


def main(folder):
    """What the tests compare with one process: two of them, from the start, resumed, and taking over from one."""
    import torch

    from spire.training.scaled.processes import Processes

    torch.set_num_threads(1)
    processes, folder = Processes(), Path(folder)
    run = engine(processes)
    seen = steps(run, 0, SAVED)
    (folder / "by_two").mkdir(exist_ok=True)
    names = run.save(folder / "by_two")
    seen += steps(run, SAVED)
    again = engine(processes)
    again.load(folder / "by_two")
    taken_over = engine(processes)
    taken_over.load(folder / "by_one")
    report = {
        "names": names,
        "run": seen,
        "resumed": steps(again, SAVED),
        "taken over": steps(taken_over, SAVED),
        "any": [processes.any(processes.rank == 1), processes.any(False)],
    }
    (folder / "exported").mkdir(exist_ok=True)
    run.export(folder / "exported", NoVocabulary(), 2)
    (folder / f"report-{processes.rank}.json").write_text(json.dumps(report))
    processes.close()


def start_two(folder):
    """Run `main` in two processes; their reports."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    env = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(folder)]
    started = [
        subprocess.Popen(command, env=env | {"RANK": str(r)}, stderr=subprocess.PIPE, text=True) for r in range(2)
    ]
    try:
        errors = [p.communicate(timeout=120)[1] for p in started]
    finally:
        for process in started:
            process.kill()
    assert [p.returncode for p in started] == [0, 0], errors
    return [json.loads((Path(folder) / f"report-{r}.json").read_text()) for r in range(2)]


if __name__ == "__main__":
    main(sys.argv[1])
