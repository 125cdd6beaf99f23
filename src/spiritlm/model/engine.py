"""What continues the prompts of `Spiritlm`: the project's own batched decoding, on a loaded model or on vLLM.

Guarantees: a continuation depends on its prompt, its seed, the settings and the model, not on what is generated beside
it (spire.decoding.batched); with vLLM rounding may decide between close tokens. `settings_of` never approximates: what
the project's decoding does not know is left to transformers' own `generate`, one prompt at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from spire.decoding.backends import Backend
from spire.decoding.batched import Decoder
from spire.decoding.hf_backend import TransformersBackend
from spire.decoding.settings import Settings

# What transformers takes where neither the caller nor the model says.
_DEFAULTS = {
    "do_sample": False,
    "num_beams": 1,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "length_penalty": 1.0,
    "early_stopping": False,
    "max_length": None,
    "max_new_tokens": None,
}
# Attributes of GenerationConfig that change no token, and values that ask for nothing.
_IDLE = {
    *("transformers_version", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate"),
    *("use_mtp", "disable_compile", "remove_invalid_values", "renormalize_logits"),
    *("is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold"),
    *("max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind"),
    *("cache_implementation", "prefill_chunk_size", "low_memory"),
}
_NOTHING = {
    "min_length": 0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "num_return_sequences": 1,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
    "token_healing": False,
}


@dataclass(frozen=True)
class Marks:
    """What decoding needs to know of a vocabulary: ids of `<s>` and `</s>`, and how many ids mean something."""

    bos: int
    eos: int
    size: int


class LoadedBackend(TransformersBackend):
    """Decoding with a model of transformers that is in memory already; `rows`: the largest batch."""

    def __init__(self, model, marks: Marks, rows: int):
        Backend.__init__(self, marks, {"backend": "transformers"})
        self._positions = getattr(model.config, "max_position_embeddings", None)
        self.decoder = Decoder(model, marks.size, self._positions)
        self.rows, self.tokens = rows, self._room(model)


def settings_of(
    config, own, ends: tuple[int, ...], banned: list[int], prompt: int, bans_in_beams: bool = False
) -> Settings | None:
    """A GenerationConfig for a prompt of so many ids as Settings, None where they cannot say the same.

    What `config` leaves open is taken from `own`, the model's, and then from transformers' defaults, as there. Beams:
    transformers takes the probabilities before ids are banned, the project's decoding those of the ids that are left;
    `bans_in_beams` accepts that.
    """
    asked = {}
    for given in (own, config):
        asked |= {name: value for name, value in vars(given).items() if value is not None and name[0] != "_"}
    values = _DEFAULTS | {name: asked[name] for name in _DEFAULTS if name in asked}
    for name, value in asked.items():
        if name not in _DEFAULTS and name not in _IDLE and value != _NOTHING.get(name):
            return None
    limit = values["max_new_tokens"]
    if limit is None and values["max_length"] is not None:
        limit = values["max_length"] - prompt
    beams = values["num_beams"]
    if limit is None or limit < 1 or (beams > 1 and (values["do_sample"] or values["early_stopping"])):
        return None
    common = {"max_new": limit, "stop": frozenset(ends), "banned": frozenset(banned)}
    if beams > 1 and banned and not bans_in_beams:
        return None
    if beams > 1:
        return Settings(strategy="beam", beams=beams, length_penalty=values["length_penalty"], **common)
    if not values["do_sample"]:
        return Settings(**common)
    how = {name: values[name] for name in ("temperature", "top_p", "top_k")}
    return Settings(strategy="sampling", **how, **common)
