"""The packed network of FCPE equals the plain one, for any number of frames."""

import pytest
import torch

from spiritlm.pitch.fcpe import MELS, Network
from spiritlm.pitch.fcpe_cpu import CpuNetwork


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch lacks oneDNN")
@pytest.mark.parametrize("frames", [3, 16, 77, 300])
def test_packed_network(frames):
    torch.manual_seed(0)
    plain = Network().eval()
    packed = CpuNetwork(plain)
    mel = torch.randn(1, MELS, frames)
    with torch.inference_mode():
        expected, found = plain(mel), packed(mel)
        assert expected.shape == found.shape and expected.std() > 1e-2
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert torch.equal(found, packed(mel))
