"""Download, inspect and make checkpoints (`pirig checkpoint ACTION …`)."""

import collections
import dataclasses
import logging
import math
import pathlib
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import tyro

from pirig import envvars
from pirig.errors import ConfigError, Interrupted
from pirig.launch import logs, signals
from pirig.launch.fetch import bring
from pirig.launch.settings import DEFAULT_IN_HELP
from pirig.models import weights
from pirig.policies.factory import require_readers
from pirig.policies.recipes import RECIPES, Recipe

_log = logging.getLogger(__name__)
_NORM_STATS = "assets/**/norm_stats.json"


@dataclasses.dataclass(frozen=True)
class FetchArgs:
    url: tyro.conf.Positional[str]
    """gs://BUCKET/PATH, https://HOST/PATH, hf://ORG/REPO[@REVISION][/PATH], or a local path."""
    data_home: Annotated[pathlib.Path | None, DEFAULT_IN_HELP] = None
    """Folder for downloads; default: OPENPI_DATA_HOME, else ~/.cache/openpi."""
    offline: bool = False
    """Use the cache only, and fail if something is missing; PIRIG_OFFLINE=1 and HF_HUB_OFFLINE=1 do the same."""
    verify: bool = False
    """Read all of a cached copy and repair what is damaged, instead of checking names and sizes only."""


def fetch(flags: FetchArgs) -> int:
    """Download what a URL names. Print the local path on stdout, and everything else on stderr."""
    logs.log_to_stderr()
    signals.raise_interrupted()
    try:
        path = bring(flags.url, home=flags.data_home, offline=flags.offline, check_contents=flags.verify)
    except Interrupted as signal_:
        _log.warning("%s: stopped; what was fetched is kept, and the same command goes on from there", signal_)
        raise
    print(path)
    return 0


@dataclasses.dataclass(frozen=True)
class InspectArgs:
    directory: tyro.conf.Positional[str]
    """Directory of a checkpoint, or its address."""


def inspect(flags: InspectArgs) -> int:
    """Print what is in a checkpoint, and which recipes it fits."""
    logs.log_to_stderr()
    signals.raise_interrupted()
    from pirig.checkpoints import assets, read

    require_readers()
    checkpoint = read.open_checkpoint(bring(flags.directory))
    arrays = checkpoint.arrays
    sizes = {name: math.prod(shape) for name, shape in arrays.shapes.items()}
    types = collections.Counter[str]()
    for name, size in sizes.items():
        types[arrays.dtypes[name]] += size
    print(f"layout       {checkpoint.layout}, {len(sizes)} arrays")
    print(f"parameters   {sum(sizes.values()):,} ({', '.join(f'{n:,} {kind}' for kind, n in types.items())})")
    problems = {row.name: _misfit(arrays, row) for row in RECIPES.values()}
    fitting = [name for name, problem in problems.items() if not problem]
    print(f"recipes      {', '.join(fitting) or 'none fits'}")
    for name, problem in problems.items() if not fitting else ():
        print(f"             {name}: {problem}")
    found = sorted(
        str(f.parent.relative_to(checkpoint.directory / "assets")) for f in checkpoint.directory.glob(_NORM_STATS)
    )
    print(f"norm stats   {', '.join(found) or 'none'}")
    print(f"fingerprint  {assets.fingerprint(checkpoint, envvars.cache_dir())}")
    return 0


def _misfit(arrays: Mapping[str, np.ndarray], row: Recipe) -> str:
    try:
        weights.check(arrays, row.model)
        return ""
    except ConfigError as e:
        return str(e)


@dataclasses.dataclass(frozen=True)
class RandomArgs:
    recipe: tyro.conf.Positional[str]
    """Recipe of the model, e.g. pi05_libero_tiny."""
    directory: tyro.conf.Positional[pathlib.Path]
    """Directory to create."""
    layout: Literal["orbax", "safetensors"] = "orbax"
    """orbax: the layout that JAX training writes. safetensors: the layout that PyTorch training writes."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Data type of the arrays."""
    seed: int = 0
    """Seed of the weights."""


def random(flags: RandomArgs) -> int:
    """Write a checkpoint with random weights. It runs everything, and no episode is expected to succeed."""
    logs.log_to_stderr()
    signals.raise_interrupted()
    require_readers()
    from pirig.policies.random_checkpoint import make_random_checkpoint

    count = make_random_checkpoint(
        flags.recipe, flags.directory, layout=flags.layout, dtype=flags.dtype, seed=flags.seed
    )
    _log.info("%s parameters, seed %d", f"{count:,}", flags.seed)
    print(flags.directory)
    return 0
