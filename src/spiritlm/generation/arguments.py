"""What every command line that writes with a model asks for: the model, where it runs, and how tokens are chosen."""

from __future__ import annotations

import argparse
import os

from spiritlm.generation.ranks import Ranks


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --backend and where it runs; --temperature, --top-p, --top-k, --seed."""
    parser.add_argument("--model", required=True, help="folder of a SpiRit-LM model in Hugging Face form")
    parser.add_argument("--backend", choices=("native", "transformers", "vllm"), default="native")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (transformers)")
    parser.add_argument("--rows", type=int, default=64, help="prompts a batch")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--tensor-parallel", type=int, default=1, help="GPUs that share the model (vllm)")
    parser.add_argument("--max-length", type=int, default=0, help="tokens of prompt and answer (0: the model's)")
    parser.add_argument("--temperature", type=float, default=0.0, help="of sampling; 0: the most likely token")
    parser.add_argument("--top-p", type=float, default=1.0, help="of sampling")
    parser.add_argument("--top-k", type=int, default=0, help="of sampling; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of sampling; each prompt has random numbers of its own")


def how(args: argparse.Namespace) -> dict[str, object]:
    """Fields of `spire.decoding.settings.Settings` that the arguments say."""
    if not args.temperature:
        return {}
    drawn = {name: getattr(args, name) for name in ("temperature", "top_p", "top_k", "seed")}
    return {"strategy": "sampling"} | drawn


def open_writer(args: argparse.Namespace, ranks: Ranks):
    """The `Writer` of the arguments, on this process's own GPU, or GPUs."""
    from spiritlm.generation.writer import Writer

    if args.backend == "vllm" and ranks.world > 1:
        import torch

        if count := torch.cuda.device_count():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            os.environ["CUDA_VISIBLE_DEVICES"] = ranks.gpus(args.tensor_parallel, visible, count)
    return Writer(
        args.model,
        args.backend,
        args.dtype,
        ranks.device(args.device) if args.backend == "transformers" else "auto",
        args.rows,
        args.threads,
        args.tensor_parallel,
        args.max_length,
    )
