"""SpiRit-LM: text and speech in, text and speech out.

    from spiritlm.model.spiritlm_model import ContentType, GenerationInput, OutputModality, Spiritlm
    spirit_lm = Spiritlm("spirit-lm-base-7b")
    spirit_lm.generate(
        output_modality=OutputModality.TEXT,
        interleaved_inputs=[GenerationInput(content="The weather is", content_type=ContentType.TEXT)],
        max_new_tokens=30,
    )

What each modality forbids is held on the logits, padding rows of the matrices included. An output depends on its
prompt, its seed and the settings, not on what is generated beside it: `generate_many` gives what `generate` gives for
each. The speech tokenizer is opened when speech is first read or written, so text alone needs no other checkpoints.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from spire.decoding.settings import Settings
from spire.errors import UserError
from spiritlm import checkpoints
from spiritlm.model.content import ContentType, GenerationInput, GenerationOutput, Inputs, OutputModality, modality_of
from spiritlm.model.outputs import decode_outputs
from spiritlm.model.prompts import build_prompt
from spiritlm.model.vocabulary import UnitIds, banned_ids
from spiritlm.unit_strings import string_to_units

__all__ = ["ContentType", "GenerationInput", "GenerationOutput", "OutputModality", "Spiritlm"]
MAX_NEW_TOKENS = 200  # where neither the model nor the caller says
DEFAULT_SPEAKER = 2
_DTYPES = {"bfloat16": "bf16", "float32": "fp32", "float16": "fp16"}


class Spiritlm:
    """A model by its released name or by the path of its folder; Expressive when its vocabulary has pitch and style.

    device: cpu, cuda, cuda:1, or auto; dtype: bfloat16 (as released), float32, float16; or torch's own of these.
    folder: the checkpoints, by default `spiritlm.checkpoints`'s place. speech_tokenizer: one to use in place of the
    released. backend: transformers, or vllm (`tensor_parallel` GPUs, prompts with their outputs up to `max_length` ids,
    0 for what the model has). rows: the largest batch. UserError: a checkpoint is missing or is no SpiRit-LM, the
    package of the backend is not installed.
    """

    def __init__(
        self,
        name: str | Path,
        device: object = "auto",
        dtype: object = "bfloat16",
        folder: str | Path | None = None,
        speech_tokenizer: object | None = None,
        backend: str = "transformers",
        rows: int = 32,
        tensor_parallel: int = 1,
        max_length: int = 0,
    ):
        import torch

        try:
            from transformers import AutoTokenizer
        except ImportError as e:
            raise UserError("transformers is not installed", hint="pip install -r requirements-spiritlm.txt") from e
        if backend not in ("transformers", "vllm"):
            raise UserError(f"unknown backend {backend!r}", hint="transformers or vllm")
        device, dtype = str(device or "auto"), str(dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise UserError(f"unknown dtype {dtype!r}", hint="bfloat16, float32 or float16")
        path = Path(name)
        if not path.is_dir():
            path = _named(str(name), folder)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"device {device}: no GPU that PyTorch can use", hint="device='cpu', or 'auto'")
        if (path / "tokenizer.model").is_file() and not (path / "tokenizer.json").is_file():
            _require_protobuf(path)
        with _loading(path):
            self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        self.ids = UnitIds.from_vocabulary(self.tokenizer.get_vocab(), str(path))
        self._device, self._folder, self._given = device, folder, speech_tokenizer
        self.model = None
        if backend == "vllm":
            self._open_vllm(path, _DTYPES[dtype], rows, tensor_parallel, max_length)
        else:
            self._open_transformers(path, getattr(torch, dtype), rows)
        if self.rows < self.ids.size:
            raise UserError(f"{path}: {self.ids.size} ids in the vocabulary, {self.rows} in the model")

    def _open_transformers(self, path: Path, dtype, rows: int) -> None:
        from transformers import AutoModelForCausalLM

        from spiritlm.model.engine import LoadedBackend, Marks

        with _loading(path):
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, local_files_only=True, trust_remote_code=False
            )
        self.rows = model.get_output_embeddings().weight.shape[0]
        self.model = model.to(self._device).eval()
        self._own = model.generation_config
        marks = Marks(self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.ids.size)
        self._backend = LoadedBackend(self.model, marks, rows)

    def _open_vllm(self, path: Path, dtype: str, rows: int, tensor_parallel: int, max_length: int) -> None:
        from transformers import GenerationConfig

        from spire.decoding.hf_backend import read_config
        from spire.decoding.vllm_backend import VllmBackend

        self.rows = read_config(path).get("vocab_size", 0)
        saved = (path / "generation_config.json").is_file()
        self._own = GenerationConfig.from_pretrained(path, local_files_only=True) if saved else GenerationConfig()
        self._backend = VllmBackend(path, dtype, rows, tensor_parallel, max_length)

    @property
    def expressive(self) -> bool:
        return self.ids.expressive

    @cached_property
    def speech_tokenizer(self):
        """The tokenizer that belongs to the model."""
        if self._given is not None:
            return self._given
        from spiritlm.speech_tokenizer import spiritlm_base, spiritlm_expressive

        return (spiritlm_expressive if self.expressive else spiritlm_base)(device=self._device, folder=self._folder)

    def build_prompt(self, inputs: Inputs, output_modality: OutputModality | str = OutputModality.ARBITRARY) -> str:
        """The prompt of the inputs; see `spiritlm.model.prompts`."""
        return build_prompt(inputs, modality_of(output_modality), lambda a: self.speech_tokenizer.encode_string(a))

    def generate(
        self,
        interleaved_inputs: Inputs | None = None,
        prompt: str | None = None,
        output_modality: OutputModality | str = OutputModality.ARBITRARY,
        generation_config: object | None = None,
        force_tokens_to_output_modality: bool = True,
        speaker_id: int = DEFAULT_SPEAKER,
        return_prompt: bool = False,
        seed: int | None = None,
        **changes: object,
    ) -> list[GenerationOutput] | tuple[list[GenerationOutput], str]:
        """The outputs, and with `return_prompt` the prompt beside them.

        A `prompt` counts in place of the inputs. generation_config: transformers' GenerationConfig, by default the
        model's own; `changes` replace its attributes, such as temperature, top_p, do_sample, max_new_tokens. With
        `seed` a sampled output depends on it, the prompt and the settings alone, and torch's random numbers go on as if
        nothing had been drawn; without it a seed is drawn from them. UserError: no input, an attribute that does not
        exist, unreadable speech.
        """
        if prompt is not None:
            if interleaved_inputs:
                warnings.warn("a prompt is given, so the inputs are ignored", stacklevel=2)
        elif interleaved_inputs is None:
            raise UserError("nothing to generate from", hint="give interleaved_inputs or prompt")
        return self.generate_many(
            [interleaved_inputs if prompt is None else prompt],
            output_modality,
            generation_config,
            force_tokens_to_output_modality,
            speaker_id,
            return_prompt,
            seed,
            **changes,
        )[0]

    def generate_many(
        self,
        requests: Sequence[Inputs | str],
        output_modality: OutputModality | str = OutputModality.ARBITRARY,
        generation_config: object | None = None,
        force_tokens_to_output_modality: bool = True,
        speaker_id: int = DEFAULT_SPEAKER,
        return_prompt: bool = False,
        seeds: int | Sequence[int] | None = None,
        **changes: object,
    ) -> list[list[GenerationOutput] | tuple[list[GenerationOutput], str]]:
        """What `generate` gives for each request, its inputs or its prompt (str), computed in batches.

        seeds: one for all, or one for each; other arguments and errors as in `generate`.
        """
        modality = modality_of(output_modality)
        prompts = [r if isinstance(r, str) else self.build_prompt(r, modality) for r in requests]
        if isinstance(seeds, int):
            seeds = [seeds] * len(prompts)
        if seeds is not None and len(seeds) != len(prompts):
            raise UserError(f"{len(prompts)} requests and {len(seeds)} seeds", hint="one seed for all, or one for each")
        config = self._config(generation_config, changes)
        banned = self._banned(modality if force_tokens_to_output_modality else OutputModality.ARBITRARY, config)
        results = []
        for prompt, ids in zip(prompts, self._new_ids(prompts, config, banned, seeds), strict=True):
            written = self.tokenizer.decode(ids, skip_special_tokens=True)
            outputs = decode_outputs(written, prompt, modality, partial(self._speech, prompt, speaker_id))
            results.append((outputs, prompt) if return_prompt else outputs)
        return results

    def _speech(self, prompt: str, speaker_id: int, text: str) -> np.ndarray:
        """The samples of what was written behind `prompt`, whatever it was: none where there is no phonetic unit;
        without pitch an Expressive voice takes the pitch that the prompt ended with (0 where it has none either)."""
        units = string_to_units(text)
        if not units["hubert"]:
            return np.zeros(0, np.float32)
        if self.expressive and "pitch" not in units:
            before = string_to_units(f"{prompt}[Hu0]")
            pitch = f"[Pi{before['pitch'].split()[-1]}]" if "pitch" in before else "[Pi0]"
            style = f"[St{before['style'].split()[-1]}]" if "style" in before and "style" not in units else ""
            text = style + pitch + text
        return self.speech_tokenizer.decode(text, speaker_id=speaker_id)

    def _config(self, given: object | None, changes: dict[str, object]):
        """The settings of one generation, complete: with an end and a padding id and a limit."""
        own = self._own
        config = copy.deepcopy(given if given is not None else own)
        for name, value in changes.items():
            if not hasattr(config, name):
                raise UserError(f"{name} is no setting of generation", hint="names are those of GenerationConfig")
            setattr(config, name, value)
        if (config.num_return_sequences or 1) > 1:
            raise UserError(
                f"num_return_sequences {config.num_return_sequences}: a request has one output",
                hint="generate_many([request, request], seeds=[1, 2]) samples several",
            )
        if config.eos_token_id is None:
            config.eos_token_id = own.eos_token_id if own.eos_token_id is not None else self.tokenizer.eos_token_id
        if config.max_new_tokens is None and config.max_length in (None, 20):  # 20 is the library's own default
            config.max_new_tokens = MAX_NEW_TOKENS
        config.pad_token_id = self._ends(config)[0] if self._ends(config) else 0
        return config

    @staticmethod
    def _ends(config) -> tuple[int, ...]:
        ends = config.eos_token_id
        return () if ends is None else tuple(ends) if isinstance(ends, list | tuple) else (ends,)

    def _banned(self, modality: OutputModality, config) -> list[int]:
        return banned_ids(modality, self.ids, self.rows, self._ends(config))

    def encode(self, prompt: str) -> list[int]:
        """The ids of a prompt behind one `<s>`, without `</s>`, whatever the tokenizer's own settings add."""
        return [self.tokenizer.bos_token_id, *self.tokenizer(prompt, add_special_tokens=False)["input_ids"]]

    def _new_ids(
        self, prompts: list[str], config, banned: list[int], seeds: Sequence[int] | None
    ) -> list[tuple[int, ...]]:
        """The ids behind each prompt's, without the id that ends them; they are cut off as ids, so a prompt need not
        survive decoding."""
        import torch

        from spiritlm.model.engine import settings_of

        given = [self.encode(prompt) for prompt in prompts]
        groups: dict[Settings | None, list[int]] = {}
        for i, ids in enumerate(given):
            found = settings_of(config, self._own, self._ends(config), banned, len(ids), self.model is None)
            groups.setdefault(found, []).append(i)
        new: dict[int, tuple[int, ...]] = {}
        for settings, members in groups.items():
            own = None if seeds is None else [seeds[i] for i in members]
            if settings is None:
                every = [None] * len(members) if own is None else own
                new |= {
                    i: self._by_transformers(given[i], config, banned, s) for i, s in zip(members, every, strict=True)
                }
                continue
            if settings.strategy != "sampling":
                own = None
            elif own is None:
                own = torch.randint(2**62, (len(members),)).tolist()
            answers = self._backend.generate([given[i] for i in members], settings, seeds=own)
            new |= {i: answer.ids for i, answer in zip(members, answers, strict=True)}
        return [new[i] for i in range(len(given))]

    def _by_transformers(self, ids: list[int], config, banned: list[int], seed: int | None) -> tuple[int, ...]:
        """As `_new_ids`, by transformers' own generate: for settings that only it has."""
        import torch
        from transformers import LogitsProcessorList

        if self.model is None:
            raise UserError(
                "these settings of generation are transformers' own, and the backend is vllm",
                hint="do_sample, temperature, top_k, top_p, num_beams, length_penalty and max_new_tokens work in both",
            )
        given = torch.tensor([ids], device=self.model.device)
        never = torch.tensor(banned, dtype=torch.long, device=self.model.device)

        def hold(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.index_fill(1, never, float("-inf"))

        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices) if seed is not None else nullcontext(), torch.inference_mode():
            if seed is not None:
                torch.manual_seed(seed)
            out = self.model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                generation_config=config,
                logits_processor=LogitsProcessorList([hold]),
            )
        return tuple(i for i in out[0, given.shape[1] :].tolist() if i not in self._ends(config))


def _named(name: str, folder: str | Path | None) -> Path:
    """The folder of a model's name; UserError names those that are there, where it is not."""
    models = checkpoints.checkpoints_folder(folder) / checkpoints.MODELS
    if not (models / name).is_dir() and models.is_dir():
        there = sorted(path.name for path in models.iterdir() if path.is_dir())
        raise UserError(f"{models}: no model {name!r}", hint=f"there: {' '.join(there) or 'none'}; or give a path")
    return checkpoints.checkpoint(f"{checkpoints.MODELS}/{name}", folder)


@contextmanager
def _loading(path: Path) -> Iterator[None]:
    """What transformers says of files that it cannot read, as a UserError."""
    try:
        yield
    except (OSError, ValueError, KeyError) as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise UserError(f"{path}: cannot be loaded: {reason}", hint="fetch the model's folder again") from e


def _require_protobuf(path: Path) -> None:
    """transformers reads tokenizer.model through protobuf, and without it takes the file for one of another kind."""
    try:
        import google.protobuf  # noqa: F401
    except ImportError as e:
        message = f"{path}/tokenizer.model: protobuf, which reads it, is not installed"
        raise UserError(message, hint="pip install -r requirements-spiritlm.txt") from e
