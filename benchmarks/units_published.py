"""The published labelling procedure, written anew from its description: the peer that `units.py` measures against.

transformers' HubertModel with its layers cut and its last norm replaced by the identity; Wav2Vec2FeatureExtractor pads
a batch to its longest utterance; frames by the mask of valid frames; distances |x|^2 - 2 x C^T + |c|^2 in the model's
dtype, the first smallest wins (spirelm 2, 3 and 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch


class Published:
    """Labels of the features after `layer`; `dtype` is that of the model and of the distances, as published."""

    def __init__(self, folder: Path, layer: int, centroids: np.ndarray, dtype: torch.dtype):
        from transformers import HubertModel, Wav2Vec2FeatureExtractor

        self.extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
        self.model = HubertModel.from_pretrained(folder, dtype=dtype).eval()
        self.model.encoder.layers = self.model.encoder.layers[:layer]
        self.model.encoder.layer_norm = torch.nn.Identity()
        norms = torch.from_numpy(centroids).pow(2).sum(1)
        self.centroids, self.norms, self.dtype = torch.from_numpy(centroids).to(dtype), norms.to(dtype), dtype

    @torch.inference_mode()
    def batch(self, wavs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Labels [T] of each waveform, computed as one padded batch."""
        inputs = self.extractor(list(wavs), sampling_rate=16_000, padding=True, return_tensors="pt")
        features = self.model(
            inputs["input_values"].to(self.dtype), attention_mask=inputs["attention_mask"]
        ).last_hidden_state
        lengths = self.model._get_feat_extract_output_lengths(inputs["attention_mask"].sum(1))
        valid = torch.arange(features.shape[1])[None] < lengths[:, None]
        flat = features[valid]
        distances = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.centroids.t() + self.norms
        return [labels.numpy() for labels in distances.argmin(1).split(lengths.tolist())]

    def label(self, wavs: Sequence[np.ndarray], size: int, by_length: bool) -> Iterator[np.ndarray]:
        """Labels in input order, batches of `size` in that order or sorted by length, longest first."""
        order = sorted(range(len(wavs)), key=lambda i: -len(wavs[i])) if by_length else range(len(wavs))
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(wavs), size):
            picks = list(order)[start : start + size]
            found.update(zip(picks, self.batch([wavs[i] for i in picks]), strict=True))
        for i in range(len(wavs)):
            yield found[i]
