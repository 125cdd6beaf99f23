"""Convolutions over time on a CPU, positions as rows and channels as columns, on weights that oneDNN has packed once.

In this layout they reach the speed of plain matrix products; `torch.nn.functional.conv1d` repacks weights and inputs at
every call. The packing holds for any number of rows, but oneDNN compiles a kernel for each number that it meets.
"""

from __future__ import annotations

import torch

Rows = torch.Tensor  # [positions, channels] float32 or bfloat16, contiguous


class RowConvolution:
    """Rows [T, in] to [T + 2 padding - dilation (kernel - 1), out], from a weight [out, in / groups, kernel] and a bias
    [out], which are copied; for about `rows` rows, all in `dtype` (sums are float32 even in bfloat16). `slope`: of the
    leaky ReLU behind it, None for none; or `then`: the name of another function that oneDNN appends."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        rows: int = 256,
        slope: float | None = None,
        then: str = "none",
        dtype: torch.dtype = torch.float32,
    ):
        self.outputs, self.groups = len(weight), groups
        self.inputs, self.kernel = weight.shape[1] * groups, weight.shape[2]
        self.padding, self.dilation = [0, padding], [1, dilation]
        self.then = (then, []) if slope is None else ("leaky_relu", [slope])
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach().to(dtype)[:, :, None],
            self.padding,
            [1, 1],
            self.dilation,
            groups,
            [1, self.inputs, 1, rows],
        )
        self.bias = bias.detach().to(dtype, copy=True)

    @property
    def reach(self) -> int:
        """Positions on each side that an output depends on."""
        return -(-self.dilation[1] * (self.kernel - 1) // 2)

    def __call__(self, x: Rows) -> Rows:
        y = torch.ops.mkldnn._convolution_pointwise(
            _image(x), self.weight, self.bias, self.padding, [1, 1], self.dilation, self.groups, *self.then, ""
        )
        return y[0, :, 0].t()

    def add_to(self, total: Rows, x: Rows) -> None:
        """total += the convolution of x; nothing is appended."""
        torch.ops.mkldnn._convolution_pointwise_.binary(
            _image(total),
            _image(x),
            self.weight,
            self.bias,
            self.padding,
            [1, 1],
            self.dilation,
            self.groups,
            "add",
            1.0,
            None,
            [],
            None,
        )


def _image(x: Rows) -> torch.Tensor:
    """Rows as an image of one line, channels last."""
    return x[None, None].permute(0, 3, 1, 2)
