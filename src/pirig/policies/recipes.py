"""Define recipes: what is needed to run a checkpoint but is not stored in it. To add a recipe, add a row to RECIPES.

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
    """Normalize by quantiles (π0.5), else by mean and standard deviation."""
    relative: tuple[bool, ...] = ()
    """The action dimensions that the model predicts relative to the state."""
    asset_id: str = _ASSETS
    """The folder of the norm stats in the checkpoint."""
    checkpoint: str = ""
    """The address of the published checkpoint; empty: none is published."""
    checkpoint_gb: float = 0.0
    """The published size of the checkpoint [GB]; 0: unknown."""


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
    """Return the recipe with this name. Raises ConfigError, with the list of known names, if there is none."""
    if name not in RECIPES:
        raise ConfigError(unknown("recipe", name, RECIPES))
    return RECIPES[name]
