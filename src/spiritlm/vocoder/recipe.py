"""What a vocoder is made of and trained towards: the content of a file such as configs/hifigan/mini.json.

    {"generator": {"embedding_dim", "num_embeddings", "num_f0_tokens", "num_style_tokens", "upsample_initial_channel",
                   "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes", "resblock_dilation_sizes"},
     "duration_predictor": {"var_pred_hidden_dim", "var_pred_kernel_size", "var_pred_dropout"},
     "discriminators": {"periods", "period_channels", "scales", "scale_layers"},
     "losses": {"mel", "features", "adversarial", "spectral", "spectral_windows", "durations"}}

The generator's keys are those of a released config.json (spiritlm 6); `released_config` makes one of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from spire.errors import UserError
from spiritlm.vocoder.discriminators import DiscriminatorShape
from spiritlm.vocoder.generator import GeneratorShape

CODE_HOP, PITCH_HOP, STYLE_HOP = 640, 1280, 16_000  # samples of a unit of each stream
TABLES = {False: ("dict", "spkr", "style"), True: ("dict", "f0_dict", "style_dict", "spkr")}  # by expressive


@dataclass(frozen=True)
class LossWeights:
    """Weights of the generator's losses; those of the release are the defaults, what it does not have is 0.

    `mel_window` is that of the mel loss, with a hop of a quarter; magnitudes below `mel_floor` count as that much.
    `spectral_windows` are the transforms of the second spectral distance; `periodicity` is that of autocorrelations,
    `shifted` that of waveforms up to a shift; the durations are learned apart. With `pulses` the speech that is learned
    is that of `spiritlm.vocoder.pulses`, and this is the weight of its waveforms. `envelope` is for the mean absolute
    error of the log-mel spectrum that a linear layer, which is not kept, reads from the first `envelope_stages`
    stages of upsampling: these can learn spectra before the others learn waveforms."""

    mel: float = 45.0
    mel_floor: float = 1e-5
    mel_window: int = 1024
    features: float = 2.0
    adversarial: float = 1.0
    spectral: float = 0.0
    spectral_windows: tuple[int, ...] = (512, 1024, 2048)
    periodicity: float = 0.0
    shifted: float = 0.0
    pulses: float = 0.0
    durations: float = 1.0
    envelope: float = 0.0
    envelope_stages: int = 1


@dataclass(frozen=True)
class Durations:
    """Sizes of the predictor of durations, by their names in config.json."""

    var_pred_hidden_dim: int = 128
    var_pred_kernel_size: int = 3
    var_pred_dropout: float = 0.5


@dataclass(frozen=True)
class Recipe:
    """The content of a file, checked. `generator` maps names of config.json to values."""

    generator: dict
    durations: Durations
    discriminators: DiscriminatorShape
    losses: LossWeights

    @staticmethod
    def read(path: str | Path) -> Recipe:
        """UserError: not readable, a section or size is unknown, missing or does not fit."""
        hint = "configs/hifigan/published.json is a complete example"
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            unknown = sorted(set(found) - {"generator", "duration_predictor", "discriminators", "losses"})
            if unknown:
                raise TypeError(f"unknown section {unknown[0]!r}")
            recipe = Recipe(
                dict(found["generator"]),
                Durations(**found.get("duration_predictor", {})),
                DiscriminatorShape(**_tuples(found.get("discriminators", {}))),
                LossWeights(**_tuples(found.get("losses", {}))),
            )
            if recipe.losses.mel <= 0:
                raise ValueError("the weight of the mel loss must be positive")
            for key in ("embedding_dim", "num_embeddings", "num_f0_tokens", "num_style_tokens"):
                if not isinstance(recipe.generator[key], int) or recipe.generator[key] < 1:
                    raise ValueError(f"{key} is {recipe.generator[key]!r}, must be a number above 0")
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
            raise UserError(f"{path}: is no recipe of a vocoder: {type(e).__name__}: {e}", hint) from e
        stages = len(recipe.shape(False, str(path)).upsample_rates)
        if recipe.losses.envelope and not 0 < recipe.losses.envelope_stages < stages:
            raise UserError(f"{path}: envelope_stages is not between 0 and its {stages} stages", hint)
        return recipe

    def shape(self, expressive: bool, where: str = "recipe") -> GeneratorShape:
        """The generator's sizes; UserError when they do not fit together."""
        width = len(TABLES[expressive]) * self.generator["embedding_dim"]
        return GeneratorShape.from_config(self.generator | {"model_in_dim": width}, where)

    def released_config(self, expressive: bool, speakers: int, styles: int) -> dict:
        """The content of config.json for a vocoder of so many speakers and styles."""
        dim, known = self.generator["embedding_dim"], dict(self.generator)
        if not expressive:
            del known["num_f0_tokens"], known["num_style_tokens"]
        more = {"num_styles": styles, "multistyle": "from_input_file"} if not expressive else {}
        hops = {"code_hop_size": CODE_HOP, "f0_hop_size": PITCH_HOP, "style_hop_size": STYLE_HOP}
        return {
            "resblock": "1",
            **known,
            "model_in_dim": len(TABLES[expressive]) * dim,
            "multispkr": "from_input_file",
            "num_speakers": speakers,
            **more,
            "dur_predictor_params": {"encoder_embed_dim": dim, **asdict(self.durations)},
            **(hops if expressive else {"code_hop_size": CODE_HOP}),
            "sampling_rate": 16_000,
        }


def _tuples(section: dict) -> dict:
    def frozen(value):
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    return {key: frozen(value) for key, value in section.items()}


def identity(recipe: Recipe) -> dict:
    """All of it as JSON values."""
    return json.loads(json.dumps(asdict(recipe)))
