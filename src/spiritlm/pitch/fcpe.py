"""FCPE, a pitch tracker of convolutions only: float32 [N] at 16 kHz to f0 and voicing at 200 Hz (spiritlm 3.1).

The forward pass is computed here; only the weights of the package torchfcpe 0.0.4 (MIT licence) are read, as data, so
neither torchaudio nor the package's other requirements are needed: `pip install --no-deps torchfcpe==0.0.4`.
Held to that package's own output: within 5e-4 Hz, on gaps, noise, tones out of range and odd lengths alike. Audio
without any voiced frame, on which the package fails, gives f0 0 and voicing 0 throughout.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from spire.errors import UserError
from spire.units.hubert_parts import packs
from spiritlm.pitch.fcpe_cpu import CpuNetwork
from spiritlm.weight_files import fill, opened, tensors_in, without_weight_norm

RATE, HOP, WINDOW, MELS = 16_000, 160, 1024, 128
OUT_HOP = 80  # samples a value: two values a frame
CHANNELS, BINS, LAYERS, KERNEL = 512, 360, 6, 31
THRESHOLD, F0_MIN, F0_MAX = 0.05, 50.0, 1100.0
REACH = 4  # bins on each side of the peak in the weighted mean
_MARGIN = (WINDOW - HOP) // 2
_HINT = "pip install --no-deps torchfcpe==0.0.4 (only its weights are read), or choose f0_backend='pyaapt'"


def bundled_weights() -> Path:
    """The weights inside the installed package torchfcpe, which is not imported; UserError without it."""
    found = importlib.util.find_spec("torchfcpe")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "assets" / "fcpe_c_v001.pt"
        if path.is_file():
            return path
    raise UserError("the weights of FCPE are not installed", _HINT)


class _Layer(nn.Module):
    """x + convolution module of a conformer: norm, gate, depthwise convolution over 31 frames, SiLU, projection."""

    def __init__(self):
        super().__init__()
        self.before = nn.LayerNorm(CHANNELS)
        self.gate = nn.Conv1d(CHANNELS, 4 * CHANNELS, 1)
        self.depthwise = nn.Conv1d(2 * CHANNELS, 2 * CHANNELS, KERNEL, padding=KERNEL // 2, groups=2 * CHANNELS)
        self.project = nn.Conv1d(2 * CHANNELS, CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.glu(self.gate(self.before(x).transpose(1, 2)), dim=1)
        return x + self.project(F.silu(self.depthwise(y))).transpose(1, 2)


class Network(nn.Module):
    """The plain form, for any device; `fcpe_cpu` computes the same on a CPU."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(MELS, CHANNELS, 3, padding=1)
        self.norm_first = nn.GroupNorm(4, CHANNELS)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(CHANNELS)
        self.out = nn.Linear(CHANNELS, BINS)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """[1, MELS, T] to the salience of each pitch [T, BINS], 0 to 1."""
        x = self.second(F.leaky_relu(self.norm_first(self.first(mel)))).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return torch.sigmoid(self.out(self.norm(x)))[0]


_NAMES = {
    "input_stack.0": "first",
    "input_stack.1": "norm_first",
    "input_stack.3": "second",
    "norm": "norm",
    "output_proj": "out",
}
for _i in range(LAYERS):
    _inner = f"net.encoder_layers.{_i}.conformer.net"
    _NAMES |= {f"{_inner}.0": f"layers.{_i}.before", f"{_inner}.2": f"layers.{_i}.gate"}
    _NAMES |= {f"{_inner}.4.conv": f"layers.{_i}.depthwise", f"{_inner}.6": f"layers.{_i}.project"}


def network_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of the weights at `path` in the names of `Network`, and `cent_table` [BINS], the pitches in cents."""
    with opened(path, "model") as file:
        tensors = without_weight_norm(tensors_in(file, file.root["model"]))
    if "cent_table" not in tensors:
        raise UserError(f"{path}: has no table of pitches", _HINT)
    named = {"cent_table": tensors["cent_table"]}
    for key, value in tensors.items():
        module, _, kind = key.rpartition(".")
        # Left out: numbers of training, and a norm in each layer that this form of the model does not use.
        if module in _NAMES:
            named[f"{_NAMES[module]}.{kind}"] = value
    return named


class Fcpe:
    """The tracker with the weights at `path` (by default those of the package torchfcpe), on `device`."""

    def __init__(self, path: str | Path | None = None, device: str | torch.device = "cpu"):
        path = Path(path) if path is not None else bundled_weights()
        tensors = network_tensors(path)
        self.cents = tensors.pop("cent_table").to(device)
        with torch.device("meta"):
            self.network: Network | CpuNetwork = Network()
        fill(self.network, tensors, path)
        self.device = torch.device(device)
        if packs(self.device):
            self.network = CpuNetwork(self.network)
        else:
            self.network.to(device)
        self.filters = mel_filters().to(device)

    @torch.inference_mode()
    def __call__(self, wav: np.ndarray, interpolate: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N] to f0 in Hz and voicing (0 or 1), float32 [N // 80 + 1] each; f0 of unvoiced frames is drawn
        between its neighbours with `interpolate`, else 0. UserError for fewer than 433 samples."""
        if len(wav) <= _MARGIN:
            raise UserError(f"{len(wav)} samples are too short for a pitch", hint=f"at least {_MARGIN + 1}")
        x = torch.from_numpy(np.ascontiguousarray(wav, np.float32)).to(self.device)
        f0 = self._decoded(self.network(self._mel(x)[None]))
        voiced = f0 >= F0_MIN
        f0 = _filled(f0, voiced) if interpolate else np.where(voiced, f0, 0)
        both = torch.from_numpy(np.stack([np.minimum(f0, F0_MAX), voiced]).astype(np.float32))
        f0, voicing = F.interpolate(both[None], size=len(wav) // OUT_HOP + 1, mode="nearest")[0].numpy()
        return f0, voicing

    def _mel(self, x: torch.Tensor) -> torch.Tensor:
        """[N] to log mel magnitudes [MELS, N // 160 + 1]."""
        padded = F.pad(x[None, None], (_MARGIN, _MARGIN), mode="reflect")[0, 0]
        window = torch.hann_window(WINDOW, device=self.device)
        spectrum = torch.stft(padded, WINDOW, HOP, WINDOW, window, center=False, return_complex=True)
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        magnitude = torch.sqrt(real * real + imaginary * imaginary + 1e-9)
        mel = torch.log(torch.clamp(self.filters @ magnitude, min=1e-5))
        return torch.cat([mel, mel[:, -1:]], dim=1)[:, : len(x) // HOP + 1]

    def _decoded(self, salience: torch.Tensor) -> np.ndarray:
        """Salience [T, BINS] to f0 in Hz [T]: the mean of the pitches round the peak, 0 below the threshold."""
        peak, at = salience.max(dim=1)
        near = (at[:, None] + torch.arange(-REACH, REACH + 1, device=self.device)).clamp(0, BINS - 1)
        weight = salience.gather(1, near).double()
        cents = (self.cents[near] * weight).sum(dim=1) / weight.sum(dim=1)
        f0 = 10 * 2 ** (cents / 1200)
        return torch.where(peak > THRESHOLD, f0, 0).float().cpu().numpy()


def _filled(f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Gaps filled by straight lines, both ends held; 0 where nothing is voiced."""
    if not voiced.any():
        return np.zeros_like(f0)
    return np.interp(np.arange(len(f0)), np.flatnonzero(voiced), f0[voiced]).astype(np.float32)


def mel_filters() -> torch.Tensor:
    """Triangular filters [MELS, WINDOW / 2 + 1] of equal area on Slaney's mel scale, 0 to 8000 Hz."""
    step, knee = np.log(6.4) / 27, 15.0  # above 1000 Hz (mel 15) the scale is logarithmic
    top = knee + np.log(RATE / 2 / 1000) / step
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < knee, mels * 200 / 3, 1000 * np.exp((np.maximum(mels, knee) - knee) * step))
    away = edges[:, None] - np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    width = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-away[:-2] / width[:-1], away[2:] / width[1:]))
    return torch.from_numpy((triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32))
