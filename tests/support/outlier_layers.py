"""Layers and inputs like those of trained models, for tests: a few channels carry most of the activations' energy."""

import torch

CHANNELS, OUTLIERS = 2048, 24


def outliers(seed: int = 1, rows: int = 16_384, outputs: int = 256, channels: int = CHANNELS):
    """Weights [N, K], inputs to calibrate with [M, K], and held-out ones. 24 of 2048 channels are 17 times as large and
    meet weights a quarter as large: so rounding to nearest has the output error that quantization.md measured.
    """
    draw = torch.Generator().manual_seed(seed)
    size = torch.ones(channels)
    size[torch.randperm(channels, generator=draw)[: OUTLIERS * channels // CHANNELS]] = 17.0
    w = torch.randn(outputs, channels, generator=draw) * torch.where(size > 1, 0.25, 1.0)
    x, held_out = (torch.randn(n, channels, generator=draw) * size for n in (rows, 2048))
    return w, x, held_out


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, of energies."""
    return float((found - expected).square().sum() / expected.square().sum())
