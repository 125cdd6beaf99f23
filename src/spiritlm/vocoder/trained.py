"""The parts of a vocoder that are trained towards speech: what `spiritlm.vocoder.released` writes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from spiritlm.vocoder.generator import LAST_SLOPE, SLOPE, DurationPredictor, Generator
from spiritlm.vocoder.mel import MELS
from spiritlm.vocoder.recipe import TABLES, Recipe

START = -5.0  # natural logarithm of a mel magnitude, about the mean of speech


class TrainedVocoder(nn.Module):
    """Embeddings, generator (weight-normalized) and predictor of durations, with random weights; `envelope`, where the
    recipe weighs it, reads log-mel spectra from the first stages of the generator."""

    def __init__(self, recipe: Recipe, expressive: bool, speakers: int, styles: int):
        super().__init__()
        sizes, config = recipe.generator, recipe.released_config(expressive, speakers, styles)
        rows = {
            "dict": sizes["num_embeddings"],
            "f0_dict": sizes["num_f0_tokens"],
            "style_dict": sizes["num_style_tokens"],
            "spkr": speakers,
            "style": styles,
        }
        dim = sizes["embedding_dim"]
        self.tables = nn.ModuleDict({name: nn.Embedding(rows[name], dim) for name in TABLES[expressive]})
        self.generator = Generator(recipe.shape(expressive))
        for module in list(self.generator.modules()):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                weight_norm(module)
        self.dur_predictor = DurationPredictor(config["dur_predictor_params"])
        self.dropout = recipe.durations.var_pred_dropout
        self.stages = recipe.losses.envelope_stages
        self.envelope = None
        if recipe.losses.envelope:
            channels = recipe.generator["upsample_initial_channel"] // 2**self.stages
            self.envelope = nn.Conv1d(channels, MELS, 1)
            nn.init.constant_(self.envelope.bias, START)

    def embedded(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Table rows int64 [B, T] to the generator's input [B, model_in_dim, T]."""
        return torch.cat([table(rows[name]) for name, table in self.tables.items()], dim=2).transpose(1, 2)

    def forward(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Table rows int64 [B, T] to samples float32 [B, 640 T]."""
        return self.generator(self.embedded(rows)).float()

    def both(self, rows: Mapping[str, torch.Tensor], waveform: bool) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The same samples, or None without `waveform`, and the spectrum [B, 80, frames of the last first stage]."""
        generator = self.generator
        x = generator.conv_pre(self.embedded(rows))
        kernels = len(generator.shape.resblock_kernel_sizes)
        for i, up in enumerate(generator.ups):
            x = up(F.leaky_relu(x, SLOPE))
            x = sum(block(x) for block in generator.resblocks[i * kernels : (i + 1) * kernels]) / kernels
            if i + 1 == self.stages:
                spectrum = self.envelope(x).float()
                if not waveform:
                    return None, spectrum
        samples = torch.tanh(generator.conv_post(F.leaky_relu(x, LAST_SLOPE)))[:, 0]
        return samples.float(), spectrum

    def duration_loss(self, runs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the logarithm of frames + 1. The embeddings learn nothing from it."""
        known = runs >= 0
        embedded = self.tables["dict"](runs.clamp(min=0)).detach() * known[..., None]
        found = self.dur_predictor(F.dropout(embedded, self.dropout, self.training))
        return ((found - torch.log1p(lengths)).square() * known).sum() / known.sum().clamp(min=1)
