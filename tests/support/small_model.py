"""A model of two blocks, and what is to be quantized in it: everything that the package does, small."""

import torch
from torch import nn

from pirig.quantization.select import Fold, Group


class Block(nn.Module):
    """Two layers with the same input whose product a third one reads."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return x + self.down(torch.tanh(self.gate(x)) * self.up(x))


def model(seed: int = 0, width: int = 64, hidden: int = 128) -> nn.Module:
    torch.manual_seed(seed)
    return nn.ModuleDict({"layers": nn.ModuleList(Block(width, hidden) for _ in range(2))}).requires_grad_(False)


def groups() -> list[Group]:
    found = []
    for layer in ("layers.0.", "layers.1."):
        gate, up, down = (f"{layer}{name}" for name in ("gate", "up", "down"))
        fold = Fold(scaled=(up,), ordered=(gate, up), rotates=False, readers=(down,))
        found += [Group((gate, up)), Group((down,), fold=fold)]
    return found


def inputs(count: int = 6, width: int = 64) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(40, width, generator=draw) * (1 + 20 * (torch.arange(width) % 31 == 0)) for _ in range(count)]


def forward(own: nn.Module, x: torch.Tensor) -> torch.Tensor:
    for layer in own["layers"]:
        x = layer(x)
    return x
