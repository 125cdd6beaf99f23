"""Features of HuBERT to phonetic units: the linear CTC quantizer, or k-means centroids (spiritlm 2.2).

The linear quantizer has a class for "blank", which repeats what was before. In the released program a blank at the
start takes the last unit of the whole utterance, since it shifts frames round in a circle; that is the default, as the
language model was trained on such units. `wrap=False` gives such frames the first unit that follows instead.
Where every frame is blank, the units stay the blank's own number V, so ids reach from 0 to V.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError
from spire.units.assign import Assigner
from spiritlm.weight_files import HINT, fill, opened, settings_of, tensors_in

SLOPE = 0.01


class Quantizer(Protocol):
    """`dim` of the features it takes; `vocabulary`: how many units it has, without the blank."""

    dim: int
    vocabulary: int

    def units(self, features: np.ndarray) -> np.ndarray:
        """float32 [T, dim] to int32 [T]."""


def open_quantizer(path: str | Path, wrap: bool = True, device: str | torch.device = "cpu") -> Quantizer:
    """The quantizer in a published file, linear or k-means, told by its keys; UserError for any other file."""
    with opened(path) as file:
        keys = set(file.root) if isinstance(file.root, dict) else set()
        if {"cluster_centers", "n_clusters"} <= keys:
            value = file.root["cluster_centers"]
            centers = (
                value if isinstance(value, np.ndarray) else tensors_in(file, {"centers": value})["centers"].numpy()
            )
            if centers.ndim != 2 or len(centers) != file.root["n_clusters"]:
                raise UserError(f"{path}: cluster centers {list(centers.shape)}, not n_clusters rows", HINT)
            return KMeansQuantizer(centers)
        if not {"model_cfg", "model_weight"} <= keys:
            raise UserError(f"{path}: is neither a linear quantizer nor k-means centers", HINT)
        config = settings_of(file, "model_cfg")
        tensors = tensors_in(file, file.root["model_weight"])
    return LinearQuantizer(tensors, config.get("vocab_size"), path, wrap, device)


class LinearQuantizer:
    """Three linear layers with LeakyReLU between them, `vocabulary` + 1 classes, the last of them blank."""

    def __init__(
        self,
        tensors: dict[str, torch.Tensor],
        vocabulary: int,
        where: str | Path = "quantizer",
        wrap: bool = True,
        device: str | torch.device = "cpu",
    ):
        weights = [tensors.get(f"{i}.weight") for i in (0, 2, 4)]
        if any(w is None or w.dim() != 2 for w in weights) or len(weights[2]) != (vocabulary or 0) + 1:
            raise UserError(f"{where}: is no linear quantizer of {vocabulary} units and a blank", HINT)
        first, second, third = (nn.Linear(w.shape[1], w.shape[0], device="meta") for w in weights)
        self.layers = nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE), third)
        fill(self.layers, tensors, where)
        self.layers.to(device)
        self.dim, self.vocabulary, self.wrap, self.device = first.in_features, vocabulary, wrap, device

    @torch.inference_mode()
    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 [T, dim] to float32 [T, vocabulary + 1]."""
        x = torch.from_numpy(np.ascontiguousarray(features, np.float32)).to(self.device)
        return F.log_softmax(self.layers(x), dim=-1).cpu().numpy()

    def units(self, features: np.ndarray) -> np.ndarray:
        classes = self.log_probabilities(features).argmax(axis=1)
        return without_blanks(classes, self.vocabulary, self.wrap)


class KMeansQuantizer:
    """The nearest centroid by squared distance, the first where several are."""

    def __init__(self, centroids: np.ndarray):
        self.vocabulary, self.dim = centroids.shape
        self._assigner = Assigner(centroids)

    def units(self, features: np.ndarray) -> np.ndarray:
        return self._assigner(np.ascontiguousarray(features, np.float32))


def without_blanks(classes: np.ndarray, blank: int, wrap: bool = True) -> np.ndarray:
    """Classes [T] with every blank replaced by the class before it, int32 [T]; blanks at the start by the last class of
    all (`wrap`) or by the first one that follows. Only blanks stay as they are."""
    classes = np.asarray(classes, dtype=np.int32)
    spoken = np.flatnonzero(classes != blank)
    if not len(spoken):
        return classes.copy()
    before = np.searchsorted(spoken, np.arange(len(classes)), side="right") - 1
    at_start = spoken[-1] if wrap else spoken[0]
    return classes[np.where(before >= 0, spoken[before], at_start)]
