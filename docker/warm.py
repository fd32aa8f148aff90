"""Runs one control step of a LIBERO task, with images: it compiles all that Numba ever compiles. For image builds."""

import numpy as np

from pirig import envvars
from pirig.sim import assets, boot, compiled
from pirig.sim.libero import OBSERVATIONS, LiberoEnvironment
from pirig.types import EpisodeSpec

folder = assets.locate("")
print(f"assets: list {assets.verify(folder)[:12]}")
env = LiberoEnvironment(boot.Settings("osmesa", folder, envvars.cache_dir()))


def compile_everything() -> None:
    env.reset(EpisodeSpec("libero_spatial", 0, 0))
    env.step(np.zeros(7), sorted(OBSERVATIONS))


compiled.once(envvars.cache_dir(), compile_everything)
env.close()
