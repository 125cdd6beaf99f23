"""The tiled generator equals the plain one for every length and shape, as `row_convolution` equals a convolution."""

import pytest
import torch
import torch.nn.functional as F

from spiritlm.row_convolution import RowConvolution
from spiritlm.vocoder import generator_cpu
from spiritlm.vocoder.generator import Generator, GeneratorShape

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch lacks oneDNN")

BLOCKS = ((3, 5), ((1, 3), (1, 2)))
SHAPES = {
    "even": GeneratorShape(6, 32, (4, 2), (8, 4), *BLOCKS, 8),
    "odd": GeneratorShape(6, 32, (5, 3), (11, 7), *BLOCKS, 15),
    "least": GeneratorShape(6, 32, (5, 2), (5, 2), *BLOCKS, 10),
}


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (7, 3)])
def test_a_convolution_of_rows(kernel, dilation, groups):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(8, 8 // groups, kernel), torch.randn(8), torch.randn(37, 8)
    padding = dilation * (kernel - 1) // 2
    expected = F.conv1d(x.t()[None], weight, bias, padding=padding, dilation=dilation, groups=groups)[0].t()
    plain = RowConvolution(weight, bias, padding, dilation, groups)
    active = RowConvolution(weight, bias, padding, dilation, groups, slope=0.1)
    torch.testing.assert_close(plain(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(active(x), F.leaky_relu(expected, 0.1), rtol=1e-5, atol=1e-5)
    total = x.clone()
    plain.add_to(total, x)
    torch.testing.assert_close(total, expected + x, rtol=1e-5, atol=1e-5)
    assert plain.reach == padding


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("elements", [1 << 10, 1 << 19], ids=["small-tiles", "large-tiles"])
def test_any_length(monkeypatch, name, elements):
    """Tiles of a few positions, so that all kinds of edges occur."""
    monkeypatch.setattr(generator_cpu, "TILE_ELEMENTS", elements)
    monkeypatch.setattr(generator_cpu, "LEAST_ROWS", 1)
    monkeypatch.setattr(generator_cpu, "SIZES", tuple(range(16, 4096, 16)))
    shape = SHAPES[name]
    assert generator_cpu.fits(shape)
    torch.manual_seed(1)
    plain = Generator(shape).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(3)  # so that samples are large enough to tell
    tiled = generator_cpu.CpuGenerator(plain)
    for units in (1, 2, 15, 16, 40, 333):
        x = torch.randn(1, 6, units)
        with torch.inference_mode():
            expected, found = plain(x), tiled(x)
            assert expected.shape == found.shape == (1, units * shape.code_hop_size) and expected.std() > 0.01
            # Such weights make the rounding of sums larger, too.
            torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)
            assert torch.equal(found, tiled(x))


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16 in oneDNN")
def test_bfloat16():
    """Rounded by about 1 in 256 in each layer, while the samples themselves are not."""
    torch.manual_seed(2)
    plain = Generator(SHAPES["even"]).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(3)
    rounded = generator_cpu.CpuGenerator(plain, torch.bfloat16)
    x = torch.randn(1, 6, 40)
    with torch.inference_mode():
        expected, found = plain(x), rounded(x)
    assert found.dtype == torch.float32 and not torch.equal(found, found.bfloat16().float())
    error = (found - expected).std() / expected.std()
    assert 1e-5 < error < 0.03


def test_what_does_not_fit():
    assert not generator_cpu.fits(GeneratorShape(6, 32, (4, 2), (7, 4), *BLOCKS, 8))
