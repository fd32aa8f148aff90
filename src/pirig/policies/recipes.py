"""What a checkpoint needs around it and does not say itself: one row each. Adding a recipe is adding a row.

Source: openpi `training/config.py` (commit 15a9616), where a recipe is called a train config.
"""

import dataclasses

from pirig.errors import ConfigError
from pirig.models.config import PI0, PI05, ModelConfig
from pirig.text import unknown

_ASSETS = "physical-intelligence/libero"
_ALL_BUT_THE_GRIPPER = (True,) * 6 + (False,)


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    name: str
    model: ModelConfig
    quantile: bool
    """normalization by quantiles (π0.5), or by mean and standard deviation"""
    relative: tuple[bool, ...] = ()
    """action dimensions that the model gives relative to the state"""
    asset_id: str = _ASSETS
    """folder of the norm stats in the checkpoint"""
    checkpoint: str = ""
    """where the published one is"""
    checkpoint_gb: float = 0.0
    """its size, as published [GB]; 0: nowhere said"""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "pi05_libero",
            PI05,
            quantile=True,
            checkpoint="gs://openpi-assets/checkpoints/pi05_libero",
            checkpoint_gb=11.6,
        ),
        Recipe(
            "pi0_libero",
            PI0,
            quantile=False,
            relative=_ALL_BUT_THE_GRIPPER,
            checkpoint="gs://openpi-assets/checkpoints/pi0_libero",
        ),
        Recipe("pi05_libero_tiny", PI05.tiny(), quantile=True),
        Recipe("pi0_libero_tiny", PI0.tiny(), quantile=False, relative=_ALL_BUT_THE_GRIPPER),
    )
}


def recipe(name: str) -> Recipe:
    """Raises ConfigError for an unknown one, naming those that there are."""
    if name not in RECIPES:
        raise ConfigError(unknown("recipe", name, RECIPES))
    return RECIPES[name]
