"""The device that a name stands for, checked before anything slow is begun."""

from __future__ import annotations

from torch import nn

from spire.units.placement import place


def device_named(name: str) -> str:
    """ "cpu", "cuda:0", ... for cpu, cuda, cuda:1, or auto; UserError for a device that is not there."""
    return str(place(nn.Identity(), name, "float32")[1])
