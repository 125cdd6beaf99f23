"""What a run costs before it starts: parameters, operations, memory of a GPU, hours on named GPUs.

Guarantee: parameters and operations are counted from the config; memory and hours are estimates, and the table says
what they assume. The shares of the peak that hours assume are published measurements of 7B training with full sharding
and activation checkpointing at 4,096 tokens (llm-foundry, scripts/train/benchmarking/README.md: A100 54.8 %, H100
40.4 %); nothing of this was measured with the programs here.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
# CUDA's context, NCCL's buffers, and what an allocator leaves between blocks.
_OVERHEAD = 4 * GIB


@dataclass(frozen=True)
class Gpu:
    """Attributes: memory (bytes), peak (dense bf16 operations a second, NVIDIA's data sheet), mfu (share of it that
    training gets), source (of mfu).
    """

    name: str
    memory: float
    peak: float
    mfu: float
    source: str


GPUS = (
    Gpu("A100 80GB", 80e9, 312e12, 0.548, "llm-foundry, MPT-7B, 8 GPUs, 4,096 tokens"),
    Gpu("H100 80GB", 80e9, 989e12, 0.404, "llm-foundry, MPT-7B, 8 GPUs, 4,096 tokens"),
    Gpu("H200 141GB", 141e9, 989e12, 0.404, "no figure of its own: that of the H100, whose peak is the same"),
)


def parameters(config: dict) -> int:
    """Of a Llama with this config, embeddings included."""
    return _layer(config) * config["num_hidden_layers"] + config["hidden_size"] + _tables(config)


def _tables(config: dict) -> int:
    return config["vocab_size"] * config["hidden_size"] * (1 if config.get("tie_word_embeddings") else 2)


def _layer(config: dict) -> int:
    d, heads = config["hidden_size"], config["num_attention_heads"]
    kv = (config.get("num_key_value_heads") or heads) * (d // heads)
    return 2 * d * d + 2 * d * kv + 3 * d * config["intermediate_size"] + 2 * d


def operations(config: dict, document: float) -> float:
    """Floating point operations to train on one token of documents of `document` tokens, without what activation
    checkpointing computes twice; a token sees half of its document on the average.
    """
    products = _layer(config) * config["num_hidden_layers"] + config["vocab_size"] * config["hidden_size"]
    return 6 * products + 6 * config["num_hidden_layers"] * config["hidden_size"] * document


def memory(config: dict, gpus: int, length: int, rows: int, checkpointing: bool = True) -> float:
    """Bytes on one of `gpus` GPUs, with bfloat16 products and all else in float32."""
    d, tokens = config["hidden_size"], length * rows
    # Weights, gradients and two moments, 4 bytes each, dealt out.
    dealt = 16 * parameters(config) / gpus
    # Gathered in bfloat16 with gradients: the tables, and two layers (one computes, the next is on its way).
    gathered = 4 * (_tables(config) + 2 * _layer(config))
    inside = 2 * tokens * (10 * d + 4 * config["intermediate_size"])
    kept = 2 * tokens * d * config["num_hidden_layers"] + inside
    if not checkpointing:
        kept = inside * config["num_hidden_layers"]
    # Logits, probabilities and their 16-bit copy of a chunk; the gradient of the output matrix.
    loss = min(tokens, 4096) * config["vocab_size"] * 10 + 4 * config["vocab_size"] * d
    return dealt + gathered + kept + loss + _OVERHEAD


def table(
    config: dict,
    steps: int,
    tokens_per_step: int,
    length: int,
    rows: int,
    checkpointing: bool = True,
    document: float | None = None,
    counts: tuple[int, ...] = (1, 4, 8, 16, 32),
) -> str:
    """The estimate as text. `document`: mean tokens of a document, when known."""
    tokens = steps * tokens_per_step
    per_token = operations(config, document or length)
    lines = [
        f"{parameters(config):,} parameters; {steps:,} updates x {tokens_per_step:,} tokens = {tokens:,} tokens",
        f"{per_token:.3g} operations a token, {per_token * tokens:.3g} in all; rows of {length:,} tokens, {rows} at a "
        f"time, documents of {f'{document:,.0f} tokens' if document else 'up to a whole row'}",
        "",
        f"{'GPUs':>5}  {'memory of each':>14}  " + "  ".join(f"{g.name:>16}" for g in GPUS),
    ]
    for count in counts:
        needed = memory(config, count, length, rows, checkpointing)
        cells = []
        for gpu in GPUS:
            hours = per_token * tokens / (count * gpu.peak * gpu.mfu) / 3600
            cells.append(f"{f'{hours:,.1f} h' if needed <= gpu.memory else 'does not fit':>16}")
        lines.append(f"{count:>5}  {needed / GIB:>10,.0f} GiB  " + "  ".join(cells))
    lines += [
        "",
        "assumed: " + "; ".join(f"{g.name} {g.mfu:.1%} of {g.peak / 1e12:.0f} TFLOP/s ({g.source})" for g in GPUS),
    ]
    return "\n".join(lines)
