"""Define the models' sizes as data. π0 and π0.5 are two configurations of one model.

Source: openpi `models/gemma.py`, `models/siglip.py`, `models/pi0_config.py` (commit 15a9616).
"""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class GemmaSize:
    """The size of a Gemma decoder (Gemma Team, arXiv 2403.08295).

    Query head n uses key head n // (heads / kv_heads).
    """

    width: int  # D
    depth: int  # L
    mlp: int  # F
    heads: int  # N
    kv_heads: int  # K
    head_dim: int  # H


@dataclasses.dataclass(frozen=True, slots=True)
class VisionSize:
    """The size of a SigLIP encoder (Zhai et al., arXiv 2303.15343) for square images, without its pooling head."""

    width: int
    depth: int
    mlp: int
    heads: int
    patch: int = 14  # [pixel]
    image: int = 224  # [pixel]

    @property
    def tokens(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


GEMMA = {
    "gemma_2b": GemmaSize(width=2048, depth=18, mlp=16_384, heads=8, kv_heads=1, head_dim=256),
    "gemma_300m": GemmaSize(width=1024, depth=18, mlp=4096, heads=8, kv_heads=1, head_dim=256),
    "dummy": GemmaSize(width=64, depth=4, mlp=128, heads=8, kv_heads=1, head_dim=16),
}
VISION = {
    "So400m/14": VisionSize(width=1152, depth=27, mlp=4304, heads=16),
    "tiny": VisionSize(width=32, depth=2, mlp=64, heads=2),
}
CAMERA_SLOTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class ModelConfig:
    """The configuration of one model: `vision` and `llm` process the prefix, `expert` processes the suffix."""

    time_in_norm: bool  # π0.5: the denoising time is an input of adaRMS, and there is no state token
    action_horizon: int  # T
    max_tokens: int  # of a prompt
    vision: VisionSize = VISION["So400m/14"]
    llm: GemmaSize = GEMMA["gemma_2b"]
    expert: GemmaSize = GEMMA["gemma_300m"]
    vocabulary: int = 257_152
    action_size: int = 32  # A; LIBERO's seven, padded
    steps: int = 10  # S, of Euler integration

    @property
    def suffix_tokens(self) -> int:
        return self.action_horizon + (0 if self.time_in_norm else 1)

    def tiny(self) -> "ModelConfig":
        """Return the same configuration with smaller sizes, of 0.6 M parameters in all, for tests."""
        dummy = GEMMA["dummy"]
        return dataclasses.replace(self, vision=VISION["tiny"], llm=dummy, expert=dummy, vocabulary=1024)


PI0 = ModelConfig(time_in_norm=False, action_horizon=50, max_tokens=48)
PI05 = ModelConfig(time_in_norm=True, action_horizon=10, max_tokens=200)
