"""What HuBERT inference computes before its transformer, one utterance at a time, and the products all of it uses.

Guarantee: every shape follows from the length of the utterance alone, so its numbers do too, bit for bit. spirelm 3.

Products run on weights that oneDNN has packed once for this processor, with gelu and residual sums inside: PyTorch's
float32 `linear` calls MKL, which reaches 42 % of that on AMD processors. On a GPU they are PyTorch's own.

Convolutions are products over windows of [time, channels], a few frames at a time on a CPU: the first layers' outputs
(6.5 MB a second of audio) never leave the cache. GroupNorm in the first one (base models) needs no pass over its
outputs: their mean and variance over time follow from those of the windows of the input, so that it becomes part of
that convolution's weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from spire.units.hubert import Hubert

GRAIN = 16  # rows: sizes are rounded up to this, so that few kernels are compiled and none has a ragged edge
FRONT_ELEMENTS = 1 << 20  # of the first convolution's output at once on a CPU: 32 frames of a large model


def rounded(rows: int) -> int:
    """The next multiple of GRAIN."""
    return -(-rows // GRAIN) * GRAIN


def packs(device: torch.device | str) -> bool:
    """Whether products on this device use weights packed by oneDNN."""
    return torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available()


def own(tensor: torch.Tensor, device: torch.device | str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A copy: a view of a loaded file would keep the whole file mapped."""
    return tensor.detach().to(device, dtype, copy=True)


class Product:
    """x -> x @ weight.T + bias, [rows, in] to [rows, out] in `dtype` on `device`; best for about `rows` rows."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        dtype: torch.dtype,
        rows: int,
        device: torch.device | str = "cpu",
    ):
        self.packed = packs(device)
        self.weight = weight.detach().to(device, dtype).contiguous()
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, rows)
        # oneDNN adds a float32 bias to the float32 sums before it rounds.
        self.bias = None if bias is None else own(bias, device, torch.float32 if self.packed else dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not self.packed:
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """gelu of the product."""
        if not self.packed:
            return F.gelu(F.linear(x, self.weight, self.bias))
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "gelu", [], "none")

    def add_to(self, residual: torch.Tensor, x: torch.Tensor) -> None:
        """residual [rows, out] float32 += the product."""
        if self.packed and x.dtype == torch.float32:
            sums = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
            residual.copy_(sums)
        else:
            residual.add_(self(x))


class Norm:
    """LayerNorm of the last dimension, result in `dtype`."""

    def __init__(self, module: torch.nn.LayerNorm, dtype: torch.dtype, device: torch.device | str = "cpu"):
        self.weight, self.bias = own(module.weight, device), own(module.bias, device)
        self.shape, self.eps, self.dtype = tuple(module.normalized_shape), module.eps, dtype

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda:
            x = x.float()
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps).to(self.dtype)


class Front:
    """Normalized samples [N] to projected convolution outputs [rounded(frames), d] float32; rows without a frame: 0."""

    def __init__(self, model: Hubert, dtype: torch.dtype, device: torch.device | str = "cpu"):
        shape = self.shape = model.shape
        self.dtype, self.device = dtype, torch.device(device)
        self.hop = int(np.prod(shape.conv_stride))
        self.tile = max(GRAIN, FRONT_ELEMENTS // (shape.conv_dim[0] * self.hop // shape.conv_stride[0]))
        self.tile = rounded(self.tile) if self.device.type == "cpu" else 1 << 30
        convs = list(model.feature_extractor.conv_layers)
        # Windows hold time before channels: [C', C, kernel] to [C', kernel * C].
        weights = [c.conv.weight.detach().permute(0, 2, 1).flatten(1) for c in convs]
        self.first_weight = weights[0].double().to(device)
        self.group_norm = convs[0].layer_norm if shape.feat_extract_norm == "group" else None
        if self.group_norm is not None:
            self.group_scale = self.group_norm.weight.detach().double().to(device)
            self.group_shift = self.group_norm.bias.detach().double().to(device)
        # The first layer has ten inputs only: float32 costs nothing there and keeps the samples' precision.
        dtypes = [torch.float32] + [dtype] * (len(convs) - 1)
        self.products = [
            Product(w, c.conv.bias, d, 256, device) for w, c, d in zip(weights, convs, dtypes, strict=True)
        ]
        self.norms = [None] * len(convs)
        if self.group_norm is None:
            self.norms = [Norm(c.layer_norm, d, device) for c, d in zip(convs, dtypes, strict=True)]
        projection = model.feature_projection
        self.norm = Norm(projection.layer_norm, dtype, device) if shape.feat_proj_layer_norm else None
        self.projection = Product(projection.projection.weight, projection.projection.bias, dtype, 32, device)

    def __call__(self, wav: torch.Tensor) -> torch.Tensor:
        total = self.shape.frames(len(wav))
        out = torch.zeros(rounded(total), self.shape.hidden_size, device=self.device)
        first = self.products[0] if self.group_norm is None else self._normalized_first(wav)
        for start in range(0, total, self.tile):
            frames = min(self.tile, total - start)
            needed = self.shape.samples(rounded(frames))
            x = wav[start * self.hop :][:needed]
            if len(x) < needed:
                x = F.pad(x, (0, needed - len(x)))
            out[start : start + frames] = self._convolve(x[:, None], first)[:frames]
        return out

    def _convolve(self, x: torch.Tensor, first: Product) -> torch.Tensor:
        for i, (kernel, stride) in enumerate(zip(self.shape.conv_kernel, self.shape.conv_stride, strict=True)):
            time, channels = x.shape
            size = ((time - kernel) // stride + 1, kernel * channels)
            windows = x.as_strided(size, (stride * channels, 1), x.storage_offset())
            product, norm = (first if i == 0 else self.products[i]), self.norms[i]
            x = product.gelu(windows) if norm is None else torch.ops.aten.gelu_(norm(product(windows)))
            x = x.to(self.dtype)
        return self.projection(x if self.norm is None else self.norm(x)).float()

    def _normalized_first(self, wav: torch.Tensor) -> Product:
        """The first convolution with its GroupNorm over the utterance: both are linear in a window of samples."""
        windows = wav.double().unfold(0, self.shape.conv_kernel[0], self.shape.conv_stride[0])
        mean = windows.mean(dim=0)
        centred = windows - mean
        covariance = centred.t() @ centred / len(windows)
        weight = self.first_weight
        variance = ((weight @ covariance) * weight).sum(dim=1)
        scale = self.group_scale / (variance + self.group_norm.eps).sqrt()
        # The convolution's own bias moves the mean along with it, and so drops out.
        bias = self.group_shift - scale * (weight @ mean)
        return Product((scale[:, None] * weight).float(), bias.float(), torch.float32, 256, self.device)


class Position:
    """gelu of the positional convolution: [rows, d] float32 to the same."""

    def __init__(self, model: Hubert, dtype: torch.dtype, device: torch.device | str = "cpu"):
        conv = model.encoder.pos_conv_embed.conv
        self.groups, self.padding, self.dtype = conv.groups, conv.padding[0], dtype
        self.packed = packs(device)
        self.weight = conv.weight.detach().to(device, dtype)[:, :, None]
        self.bias = conv.bias.detach().to(device, dtype)
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, [0, self.padding], [1, 1], [1, 1], self.groups, [1, conv.in_channels, 1, 256]
            )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # [rows, d] is an image of one line, channels last.
        image = x.to(self.dtype)[None, None].permute(0, 3, 1, 2)
        if self.packed:
            y = torch.ops.mkldnn._convolution_pointwise(
                image, self.weight, self.bias, [0, self.padding], [1, 1], [1, 1], self.groups, "gelu", [], "none"
            )
        else:
            y = F.gelu(F.conv2d(image, self.weight, self.bias, padding=(0, self.padding), groups=self.groups))
        return y[0, :, 0, : len(x)].t().float()


class Embedding:
    """Normalized samples [N] float32, at least one frame, to what the transformer gets: [rounded(T), d] float32.

    Rows from T on are 0: no frames, only rounding.
    """

    def __init__(self, model: Hubert, dtype: torch.dtype, device: torch.device | str = "cpu"):
        self.front, self.position = Front(model, dtype, device), Position(model, dtype, device)
        post_norm = not model.shape.do_stable_layer_norm
        self.norm = Norm(model.encoder.layer_norm, torch.float32, device) if post_norm else None

    def __call__(self, wav: torch.Tensor) -> torch.Tensor:
        x = self.front(wav)
        x += self.position(x)
        if self.norm is not None:
            x = self.norm(x)
        x[self.front.shape.frames(len(wav)) :] = 0
        return x


def layers_of(model: Hubert, release: bool) -> Iterator[torch.nn.Module]:
    """The transformer layers, each dropped from `model` when the next is asked for if `release`: copying them one by
    one then needs the memory of one layer, not of all."""
    for i, layer in enumerate(model.encoder.layers):
        yield layer
        if release:
            model.encoder.layers[i] = torch.nn.Identity()


def joined_projections(attention: torch.nn.Module, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [3 d, d] and bias of queries, keys and values in one; queries are scaled by head size^-0.5."""
    scales = ((attention.q_proj.weight.shape[0] // heads) ** -0.5, 1.0, 1.0)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    weights = [p.weight.detach() * scale for p, scale in zip(projections, scales, strict=True)]
    biases = [p.bias.detach() * scale for p, scale in zip(projections, scales, strict=True)]
    return torch.cat(weights), torch.cat(biases)
