"""A Llama decoder with Hugging Face's parameter names and numbers, without the four CPU seconds of importing
transformers.

The same `config.json` and `model.safetensors` load here and in `transformers.LlamaForCausalLM`; logits agree to
float32 rounding (tests/spire/test_training_llama.py). Supported: rotary positions without scaling, grouped key/value
heads, tied or separate output matrix, no biases. Anything else in a config is refused, never ignored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError


@dataclass(frozen=True)
class LlamaShape:
    """The sizes that decide the parameters; field names are those of Hugging Face's `LlamaConfig`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    num_key_value_heads: int = 0
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_position_embeddings: int = 1024
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden size {self.hidden_size} does not divide into {self.num_attention_heads} attention heads",
                hint="choose --heads so that hidden / heads is a whole even number",
            )
        if (self.hidden_size // self.num_attention_heads) % 2:
            raise UserError(
                f"heads of {self.hidden_size // self.num_attention_heads} dimensions cannot carry rotary positions",
                hint="choose --heads so that hidden / heads is even",
            )
        if self.num_attention_heads % self.kv_heads:
            raise UserError(f"{self.num_attention_heads} heads cannot share {self.kv_heads} key/value heads evenly")

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def to_config(self, bos: int, eos: int, pad: int) -> dict:
        """The `config.json` that transformers reads."""
        fields = asdict(self) | {"num_key_value_heads": self.kv_heads, "head_dim": self.head_dim}
        fields |= {"rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta}}
        return fields | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "dtype": "float32",
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "use_cache": True,
        }

    @staticmethod
    def from_config(config: dict, where: str) -> LlamaShape:
        """Read a Hugging Face config; `where` (a path) is named in errors."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        wrong = []
        if config.get("model_type") != "llama":
            wrong.append(f"model_type {config.get('model_type')!r}")
        if config.get("hidden_act", "silu") != "silu":
            wrong.append(f"hidden_act {config['hidden_act']!r}")
        if config.get("attention_bias") or config.get("mlp_bias"):
            wrong.append("biases")
        if rope.get("rope_type", rope.get("type", "default")) != "default":
            wrong.append("scaled rotary positions")
        heads = config.get("num_attention_heads", 1)
        if config.get("head_dim") not in (None, config.get("hidden_size", 0) // heads):
            wrong.append(f"head_dim {config['head_dim']}")
        if wrong:
            raise UserError(
                f"{where}: this decoder computes plain Llama models only, found {', '.join(wrong)}",
                hint="train and decode other architectures with transformers or vLLM",
            )
        try:
            return LlamaShape(
                vocab_size=config["vocab_size"],
                hidden_size=config["hidden_size"],
                num_hidden_layers=config["num_hidden_layers"],
                num_attention_heads=heads,
                intermediate_size=config["intermediate_size"],
                num_key_value_heads=config.get("num_key_value_heads") or 0,
                rms_norm_eps=config.get("rms_norm_eps", 1e-6),
                rope_theta=rope.get("rope_theta", config.get("rope_theta", 10000.0)),
                max_position_embeddings=config.get("max_position_embeddings", 2048),
                initializer_range=config.get("initializer_range", 0.02),
                tie_word_embeddings=config.get("tie_word_embeddings", False),
            )
        except KeyError as e:
            raise UserError(f"{where}: no {e.args[0]!r}", hint="is this a Hugging Face Llama directory?") from None


class KeyValueCache:
    """Keys and values of all layers, [rows, kv_heads, room, head_dim] each; grows by doubling, rows can be dropped."""

    def __init__(self, layers: int):
        self.keys: list[torch.Tensor | None] = [None] * layers
        self.values: list[torch.Tensor | None] = [None] * layers
        self.length = 0

    def append(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store [rows, kv_heads, new, head_dim] after the `length` known positions; return views of everything so
        far.
        """
        end = self.length + k.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        if keys is None or keys.shape[2] < end:
            room = end + 32 if keys is None else max(end, 2 * keys.shape[2])
            grown = (
                k.new_zeros(k.shape[0], k.shape[1], room, k.shape[3]),
                k.new_zeros(k.shape[0], k.shape[1], room, k.shape[3]),
            )
            if keys is not None:
                grown[0][:, :, : self.length] = keys[:, :, : self.length]
                grown[1][:, :, : self.length] = values[:, :, : self.length]
            keys, values = grown
            self.keys[layer], self.values[layer] = keys, values
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def keep(self, rows: torch.Tensor) -> None:
        """Forget every row not in `rows` (int64 indices)."""
        self.keys = [k[rows] for k in self.keys]
        self.values = [v[rows] for v in self.values]


def rotary_tables(shape: LlamaShape, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [..., head_dim] float32 at integer `positions`, the two halves of a head rotating together."""
    d = shape.head_dim
    inverse = 1.0 / (
        shape.rope_theta ** (torch.arange(0, d, 2, dtype=torch.int64, device=positions.device).float() / d)
    )
    angle = positions.float().unsqueeze(-1) * inverse
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class Matrix(nn.Module):
    """x -> x W^T. Uninitialized: nn.Linear would fill it with random numbers that a checkpoint then overwrites."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight)


class Attention(nn.Module):
    def __init__(self, shape: LlamaShape):
        super().__init__()
        self.shape = shape
        d, kv = shape.hidden_size, shape.kv_heads * shape.head_dim
        self.q_proj = Matrix(d, d)
        self.k_proj = Matrix(d, kv)
        self.v_proj = Matrix(d, kv)
        self.o_proj = Matrix(d, d)

    def forward(self, x, cos, sin, mask, cache: KeyValueCache | None, layer: int) -> torch.Tensor:
        s = self.shape
        rows, new, _ = x.shape
        q = _rotate(self.q_proj(x).view(rows, new, s.num_attention_heads, s.head_dim).transpose(1, 2), cos, sin)
        k = _rotate(self.k_proj(x).view(rows, new, s.kv_heads, s.head_dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(rows, new, s.kv_heads, s.head_dim).transpose(1, 2)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        if s.kv_heads != s.num_attention_heads:
            k = k.repeat_interleave(s.num_attention_heads // s.kv_heads, dim=1)
            v = v.repeat_interleave(s.num_attention_heads // s.kv_heads, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(out.transpose(1, 2).reshape(rows, new, s.hidden_size))


class FeedForward(nn.Module):
    def __init__(self, shape: LlamaShape):
        super().__init__()
        self.gate_proj = Matrix(shape.hidden_size, shape.intermediate_size)
        self.up_proj = Matrix(shape.hidden_size, shape.intermediate_size)
        self.down_proj = Matrix(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: LlamaShape):
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x, cos, sin, mask, cache, layer) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape: LlamaShape):
        super().__init__()
        self.embed_tokens = Matrix(shape.hidden_size, shape.vocab_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Llama(nn.Module):
    """Weights are uninitialized until `initialize` or a checkpoint fills them. `hidden` then `logits`: split so that
    a caller computes the output matrix only where it needs it.
    """

    def __init__(self, shape: LlamaShape):
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self.lm_head = Matrix(shape.hidden_size, shape.vocab_size)
        if shape.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def initialize(self, seed: int) -> None:
        """Normal(0, initializer_range) everywhere but the norms (ones); the projections into the residual stream are
        divided by sqrt(2 x layers), so that depth does not inflate it."""
        generator = torch.Generator().manual_seed(seed)
        residual = (2 * self.shape.num_hidden_layers) ** -0.5
        with torch.no_grad():
            for name, p in self.named_parameters():
                if name.endswith("norm.weight"):
                    p.fill_(1.0)
                else:
                    scale = residual if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                    p.normal_(0.0, self.shape.initializer_range * scale, generator=generator)

    def hidden(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> torch.Tensor:
        """Last hidden states [rows, new, hidden] float32 for ids [rows, new] int64.

        Without `mask` attention is causal over the given ids (right padding needs no mask: nothing real looks at it);
        a boolean mask [rows, 1, new, known + new] is True where a query may look. `cache` grows by `new` positions.
        """
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
        cos, sin = (t.unsqueeze(1) for t in rotary_tables(self.shape, positions))
        x = F.embedding(ids, self.model.embed_tokens.weight)
        for i, layer in enumerate(self.model.layers):
            x = layer(x, cos, sin, mask, cache, i)
        if cache is not None:
            cache.length += ids.shape[1]
        return self.model.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.lm_head(hidden)
