"""Speed of the scaled engine: tokens a second, share of the GPU's peak, peak memory; on made-up documents.

    python benchmarks/scaled.py --size 1b                          # one GPU
    torchrun --nproc-per-node 8 -- benchmarks/scaled.py --size 7b --rows 2
    python benchmarks/scaled.py --size tiny --updates 2            # a CPU: shows that it runs, measures nothing

Operations are those of spire.training.scaled.estimate: of the model, with attention inside documents only, without what
activation checkpointing computes twice. --layers cuts the model; what is left is counted.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

LLAMA = {"model_type": "llama", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": False}
SIZES = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
    # TinyLlama's sizes
    "1b": {
        "hidden_size": 2048,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "intermediate_size": 5632,
    },
    # Llama 2 7B's, which TowerBase and SPIRE share
    "7b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008},
}


def made_up(rows: int, length: int, document: int, vocabulary: int):
    """`rows` full rows of documents of about `document` tokens, all targets."""
    from spire.tokens.stream import PackedBatch
    from spire.training.data import TEXT_LOSS

    draw = np.random.default_rng(1)
    starts, positions, places = [0], [], []
    for row in range(rows):
        places.append([])
        while starts[-1] < (row + 1) * length:
            size = int(min(draw.integers(document // 2, document * 3 // 2 + 1), (row + 1) * length - starts[-1]))
            places[-1].append(len(starts) - 1)
            positions.append(np.arange(size))
            starts.append(starts[-1] + size)
    n = rows * length
    ids, kinds = draw.integers(0, vocabulary, n), np.full(n, TEXT_LOSS, np.uint8)
    return PackedBatch(ids, np.concatenate(positions), kinds, np.zeros(n, np.uint8), starts, 0, places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="1b")
    parser.add_argument("--layers", type=int, help="fewer layers than the size has")
    parser.add_argument("--vocabulary", type=int, default=37056)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--document", type=int, default=512, help="mean tokens of a document")
    parser.add_argument("--rows", type=int, default=1, help="rows a GPU computes at a time")
    parser.add_argument("--pieces", type=int, default=4, help="such pieces an update and GPU")
    parser.add_argument("--updates", type=int, default=5, help="measured ones, after two")
    parser.add_argument("--no-activation-checkpointing", action="store_true")
    parser.add_argument("--keep-gathered", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--liger", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--peak", type=float, default=989e12, help="of the GPU, dense bf16 (default: H100, H200)")
    args = parser.parse_args()

    import torch

    from spire.training.scaled.engine import ScaledEngine
    from spire.training.scaled.estimate import operations
    from spire.training.scaled.model import Tricks
    from spire.training.scaled.processes import Processes
    from spire.training.settings import Settings

    processes = Processes()
    config = LLAMA | SIZES[args.size] | {"vocab_size": args.vocabulary}
    config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
    tricks = Tricks(not args.no_activation_checkpointing, not args.keep_gathered, args.compile, args.liger)
    rows = args.rows * args.pieces * processes.count
    settings = Settings(steps=args.updates + 2, tokens_per_step=rows * args.length, lr=1e-5)
    engine = ScaledEngine(config, settings, processes, args.length, args.rows, tricks)
    batch = made_up(rows, args.length, args.document, args.vocabulary)
    cuda = processes.device.type == "cuda"
    seconds, losses = [], []
    for _ in range(args.updates + 2):
        processes.any(False)
        begun = time.perf_counter()
        losses.append(float(engine.forward_backward(batch).loss))
        engine.step(1e-5, 1.0)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    if processes.is_main:
        taken = float(np.median(seconds[2:]))
        each = batch.tokens / taken / processes.count
        result = {
            "device": engine.reason,
            "attention": engine.attention,
            "precision": engine.precision,
            "parameters": engine.parameters,
            "layers": config["num_hidden_layers"],
            "seconds_an_update": round(taken, 3),
            "tokens_a_second_and_process": round(each, 1),
            "first_loss": round(losses[0], 4),
            "last_loss": round(losses[-1], 4),
        }
        if cuda:
            mean = batch.tokens / (len(batch.starts) - 1)
            result["mfu"] = round(each * operations(config, mean) / args.peak, 4)
            result["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        print(json.dumps(result, indent=1))
    processes.close()


if __name__ == "__main__":
    main()
