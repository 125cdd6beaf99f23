"""The nearest centroid by packed products, on the device where the features are.

The label is the argmax of x . c - |c|^2 / 2, as in `spire.units.kmeans.nearest`: |x|^2 cannot change it. The first of
equally near centroids wins. Products are float32 whatever the encoder's dtype: they are 1 to 3 % of the work, and
rounding them would move labels for nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from spire.units.hubert_parts import Product

TILE = 256  # frames scored at once: [256, 5000] float32 stays in the third-level cache


class Assigner:
    """centroids [K, D] in float32 or float64; |c|^2 is taken in their own precision."""

    def __init__(self, centroids: np.ndarray, device: torch.device | str = "cpu"):
        offset = ((centroids * centroids).sum(axis=1) * -0.5).astype(np.float32)
        weight = torch.from_numpy(np.array(centroids, dtype=np.float32))
        self.product = Product(weight, torch.from_numpy(offset), torch.float32, TILE, device)

    @torch.inference_mode()
    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float32 [T, D] to int32 [T], on a CPU."""
        labels = np.empty(len(features), np.int32)
        for start in range(0, len(features), TILE):
            scores = self.product(torch.from_numpy(features[start : start + TILE]))
            # numpy's argmax takes a tenth of torch's time here.
            labels[start : start + TILE] = scores.numpy().argmax(axis=1)
        return labels

    @torch.inference_mode()
    def on_device(self, features: torch.Tensor) -> torch.Tensor:
        """float32 [T, D] to int32 [T], both on the device."""
        return self.product(features).argmax(dim=1).int()
