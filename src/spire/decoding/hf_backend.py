"""The `transformers` backend: any causal language model of transformers from safetensors, on a CPU or a GPU."""

from __future__ import annotations

import json
from pathlib import Path

from spire.decoding.backends import Backend
from spire.decoding.batches import plan
from spire.decoding.vocabulary import open_vocabulary
from spire.errors import UserError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# Places of the key/value cache on a CPU: enough rows that products are no longer bound by reading the weights.
_CPU_TOKENS = 16384
_MEMORY_SHARE = 0.6


class TransformersBackend(Backend):
    """Answers depend on prompt, settings and model alone, not on batches (spire.decoding.batched); `beam` counts where
    rounding could matter."""

    def __init__(self, folder: Path, dtype: str, device: str, rows: int, tokens: int):
        import torch

        try:
            from transformers import AutoModelForCausalLM
        except ImportError as e:
            raise UserError(
                "the backend transformers needs the package transformers",
                hint="pip install -r requirements-scale.txt, or --backend native",
            ) from e
        from spire.decoding.batched import Decoder
        from spire.decoding.packed_linear import pack

        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}", hint="one of " + " ".join(DTYPES))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"device {device}: this PyTorch sees no GPU", hint="--device cpu")
        super().__init__(open_vocabulary(folder), {"backend": "transformers", "precision": dtype})
        read_config(folder)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, DTYPES[dtype]),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError, KeyError) as e:
            raise UserError(f"{folder}: transformers cannot load it: {str(e).splitlines()[0]}") from e
        rows_of_head = model.get_output_embeddings().weight.shape[0]
        if rows_of_head < self.vocabulary.size:
            raise UserError(
                f"{folder}: {self.vocabulary.size} ids in the vocabulary, {rows_of_head} in the model",
                hint="tokenizer and weights belong to different models",
            )
        model = model.to(device).eval()
        pack(model)
        self._positions = getattr(model.config, "max_position_embeddings", None)
        self.decoder = Decoder(model, self.vocabulary.size, self._positions)
        self.rows = rows
        self.tokens = tokens or self._room(model)

    @property
    def longest(self) -> int | None:
        return self._positions

    def settles(self, settings) -> bool:
        return settings.strategy != "beam"

    def _room(self, model) -> int:
        """Places that the key/value cache may take."""
        import torch

        if model.device.type != "cuda":
            return _CPU_TOKENS
        c = model.config
        heads = getattr(c, "num_key_value_heads", None) or c.num_attention_heads
        head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        place = 2 * c.num_hidden_layers * heads * head * model.dtype.itemsize
        free, _ = torch.cuda.mem_get_info(model.device)
        # The cache's buffers hold up to half as much again as is in them.
        return max(1, int(free * _MEMORY_SHARE / (1.5 * place)))

    def plan(self, prompts, settings):
        per_prompt = settings.beams if settings.strategy == "beam" else 1
        rows, tokens = max(1, self.rows // per_prompt), max(1, self.tokens // per_prompt)
        return plan(prompts, rows, tokens, settings.max_new)

    @staticmethod
    def members(batch) -> list[int]:
        return [i for cluster in batch for i in cluster.members]

    def answer(self, prompts, batch, settings, seeds=None):
        import torch

        self.decoder.ended = self.stopped(settings)
        try:
            return self.decoder.answers(prompts, batch, settings, seeds)
        except torch.OutOfMemoryError as e:
            if len(batch) == 1:
                raise UserError(
                    f"the memory of {self.decoder.device} does not hold {len(self.members(batch))} prompts",
                    hint="give a smaller --rows",
                ) from e
        # Answers do not depend on the batch, so halves of it will do.
        torch.cuda.empty_cache()
        half = len(batch) // 2
        parts = [self.answer(prompts, part, settings, seeds) for part in (batch[:half], batch[half:])]
        return parts[0] | parts[1]


def read_config(folder: Path) -> dict:
    """config.json of a model directory. UserError where there is none."""
    try:
        return json.loads((Path(folder) / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: no config.json", hint="give the directory of a Hugging Face model") from None
    except ValueError as e:
        raise UserError(f"{Path(folder) / 'config.json'}: not JSON: {e}") from None
