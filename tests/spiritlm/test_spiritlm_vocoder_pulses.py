"""Training speech has a whole number of pulses in every unit, whatever its own phase, and keeps envelope and level."""

import numpy as np
import pytest
import torch

from spiritlm.vocoder.losses import MelDistance, WaveformDistance
from spiritlm.vocoder.pulses import PulseTargets


def voice(f0: float, units: int = 12, delay: int = 0) -> torch.Tensor:
    """Pulses through two resonances, float32 [1, 640 units]."""
    place = np.arange(640 * units) + delay
    train = np.diff(np.floor(place * f0 / 16_000), prepend=0.0)
    t = np.arange(400) / 16_000
    response = sum(np.exp(-t * 500) * np.sin(2 * np.pi * f * t) for f in (600, 1500))
    return torch.from_numpy(0.2 * np.convolve(train, response)[: len(place)].astype(np.float32))[None]


@pytest.mark.parametrize(("f0", "pulses"), [(78, 3), (102, 4), (120, 5), (148, 6), (230, 9), (340, 14)])
def test_units_have_the_nearest_number_of_pulses(f0, pulses):
    found, voiced = PulseTargets().voices(voice(f0))
    assert found.shape == (1, 12) and voiced.shape == (1, 48)
    assert (found[0, 1:-1] == pulses).all()
    assert voiced[0, 2:-2].all()


def test_units_repeat_and_begin_with_a_pulse():
    targets = PulseTargets()
    made, share = targets(voice(120))
    assert made.shape == share.shape == (1, 7680) and made.dtype == torch.float32
    units = made[0].reshape(12, 640)[3:9]
    assert (units - units[0]).norm() < 0.3 * units.norm()
    assert torch.corrcoef(torch.stack([units[2], units[2].roll(128)]))[0, 1] > 0.9  # five periods of 128 samples
    power = [wav[0, 1280:-1280].square().mean().sqrt() for wav in (made, voice(120))]
    assert abs(float(power[0] / power[1]) - 1) < 0.15


def test_the_phase_of_the_speech_does_not_matter():
    """Where pulses fell in the recording is gone, and the spectrum is still that of the recording."""
    targets, waveform, mel = PulseTargets(), WaveformDistance(), MelDistance(512, 128, floor=1e-3)
    one, other = voice(120), voice(120, delay=61)
    everywhere = torch.ones_like(one)
    (first, _), (second, _) = targets(one), targets(other)
    inside = slice(1280, -1280)
    before = waveform(one[:, inside], other[:, inside], everywhere[:, inside])
    assert before > 0.5
    assert waveform(first[:, inside], second[:, inside], everywhere[:, inside]) < 0.05 * before
    noise = torch.randn(1, 7680, generator=torch.Generator().manual_seed(1)) * one.std()
    assert mel(first, one) < 0.5 * mel(noise, one)


def test_what_is_not_voiced_stays():
    noise = 0.1 * torch.randn(2, 7680, generator=torch.Generator().manual_seed(1))
    noise[1] = 0
    made, share = PulseTargets()(noise)
    assert share.mean() < 0.05
    assert torch.equal(made[share == 0], noise[share == 0])
    assert torch.equal(made[1], noise[1])


def test_lines_of_a_batch_do_not_depend_on_each_other():
    wav = torch.cat([voice(120), voice(230), torch.zeros(1, 7680)])
    together, _ = PulseTargets()(wav)
    alone, _ = PulseTargets()(wav[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=0)


def test_the_waveform_counts_where_it_is_voiced():
    distance = WaveformDistance()
    wanted, found = voice(120), voice(120)
    found[:, 3840:] = voice(170)[:, 3840:]
    first = torch.zeros_like(wanted)
    first[:, :3520] = 1
    assert distance(found, wanted, first) < 0.02 < 0.3 < distance(found, wanted, 1 - first)
    assert distance(0.5 * found, wanted, first) < 0.03  # levels are the spectra's business
    silent = torch.zeros_like(wanted, requires_grad=True)
    distance(silent, wanted, torch.zeros_like(wanted)).backward()
    assert torch.isfinite(silent.grad).all()
