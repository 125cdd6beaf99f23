"""Nearest centroids with torch, on CPU or GPU: products in float32 or bfloat16, distances in float32.

The nearest centroid is the first argmax of x . c - |c|^2 / 2. With bfloat16 the operands of x . c are rounded, on a CPU
its result too: a label can then differ where two centroids are almost equally near (0.6 % of labels on the frames of
benchmarks/kmeans.py, which raised the inertia by 0.01 %). The distance to the centroid chosen is computed from the
differences, in float32 in either case. The same frames in the same order give the same labels and sums on one machine.
"""

from __future__ import annotations

import numpy as np
import torch

from spire.errors import UserError

PRODUCTS = ("float32", "bfloat16")
CPU_ROWS = 1024  # frames scored at once: [1024, 5000] float32 stays in the third-level cache
GPU_SCORES = 1 << 28  # scores held at once on a GPU (1 GiB)


def open_device(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:N`, or `auto`: a GPU where torch can use one. UserError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise UserError(f"{name!r} is not a device", hint="--device auto, cpu, cuda or cuda:1") from e
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: torch sees no GPU here", hint="--device cpu")
    return device


def choose_products(name: str, device: torch.device) -> tuple[str, str]:
    """("float32" or "bfloat16", the reason in words); `auto` takes bfloat16 where it is faster."""
    if name != "auto":
        return name, "as asked for"
    if device.type == "cuda":
        return "bfloat16", "a GPU multiplies it several times as fast"
    from spire.units.products import fast_dtype

    dtype, reason = fast_dtype()
    return str(dtype).removeprefix("torch."), reason


class Product:
    """x [m, D] to x @ rows.T + bias, [m, n] float32, for the same `rows` [n, D] again and again.

    On a CPU through oneDNN, which multiplies float32 twice as fast as torch.mm does on processors that MKL was not made
    for, and adds the float32 `bias` [n] before it rounds a bfloat16 result.
    """

    def __init__(self, rows: torch.Tensor, bias: torch.Tensor, products: str = "float32"):
        self._half, self._bias = products == "bfloat16", bias
        self._gpu = rows.device.type == "cuda"
        self._packed = not self._gpu and torch.backends.mkldnn.is_available()
        self._rows = rows.bfloat16() if self._half else rows.contiguous()
        if self._packed:
            self._rows = torch.ops.mkldnn._reorder_linear_weight(self._rows, CPU_ROWS)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.bfloat16() if self._half else x
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._rows, self._bias, "none", [], "").float()
        if self._gpu and self._half:
            return torch.mm(x, self._rows.t(), out_dtype=torch.float32).add_(self._bias)
        return torch.mm(x, self._rows.t()).float().add_(self._bias)


class Scorer:
    """Centroids [K, D] float32, ready for scoring frames [n, D] float32 of the same device."""

    def __init__(self, centroids: torch.Tensor, products: str = "float32"):
        if products not in PRODUCTS:
            raise UserError(f"products in {products!r} are not known", hint="one of auto, " + ", ".join(PRODUCTS))
        self.centroids = centroids
        self._gpu = centroids.device.type == "cuda"
        self.rows = max(1, GPU_SCORES // len(centroids)) if self._gpu else CPU_ROWS
        # x . c - |c|^2 / 2, [n, K] float32
        self.scores = Product(centroids, -(centroids.double().square().sum(dim=1) / 2).float(), products)

    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """The first nearest centroid of each frame, [n] int64."""
        labels = torch.empty(len(frames), dtype=torch.int64, device=frames.device)
        for start in range(0, len(frames), self.rows):
            scores = self.scores(frames[start : start + self.rows])
            # numpy finds the first maximum six times as fast as torch does on a CPU.
            best = scores.argmax(dim=1) if self._gpu else torch.from_numpy(scores.numpy().argmax(axis=1))
            labels[start : start + len(best)] = best
        return labels

    def nearest(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(labels [n] int64, squared distances [n] float32 to those centroids)."""
        labels = self.labels(frames)
        distances = torch.empty(len(frames), device=frames.device)
        for start in range(0, len(frames), 4096):
            part = slice(start, start + 4096)
            distances[part] = (frames[part] - self.centroids[labels[part]]).square_().sum(dim=1)
        return labels, distances


def add_sums(
    sums: torch.Tensor, counts: torch.Tensor, frames: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None
) -> None:
    """Add each frame (times its weight) to its cluster's row of `sums` [K, D] and its weight to `counts` [K] float64.

    On a CPU strictly in frame order, so that float64 sums do not depend on how frames are cut into calls; on a GPU by
    sorted segments, because atomic additions would come in another order every time.
    """
    if weight is not None:
        frames = frames.to(sums.dtype) * weight[:, None].to(sums.dtype)
    values = weight if weight is not None else torch.ones(len(labels), dtype=counts.dtype, device=counts.device)
    if frames.device.type == "cpu":
        sums.index_add_(0, labels, frames.to(sums.dtype))
        counts.index_add_(0, labels, values)
    else:
        add_segments(sums, counts, frames, labels, values)


def add_segments(sums, counts, frames, labels, values) -> None:
    """`add_sums` by sorting: deterministic on every device."""
    order = torch.argsort(labels, stable=True)
    lengths = torch.bincount(labels, minlength=len(counts))
    sums += torch.segment_reduce(frames[order].to(sums.dtype), "sum", lengths=lengths, initial=0, unsafe=True)
    counts += torch.segment_reduce(values[order], "sum", lengths=lengths, initial=0, unsafe=True)


def weighted_inertia(scorer: Scorer, frames: np.ndarray, weights: np.ndarray, shift: torch.Tensor) -> float:
    """Sum of weight times squared distance over frames [n, D]: the mean squared distance when weights add up to 1."""
    total = 0.0
    for start in range(0, len(frames), 16 * CPU_ROWS):
        part = slice(start, start + 16 * CPU_ROWS)
        moved = torch.from_numpy(frames[part]).to(shift.device) - shift
        distances = scorer.nearest(moved)[1].double().cpu().numpy()
        total += float((distances * weights[part]).sum())
    return total
