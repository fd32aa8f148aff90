"""A model's checkpoint, complete on this machine, as a value that loads the model in the process that computes it."""

import dataclasses
import logging
import pathlib
from typing import Literal

from pirig import envvars
from pirig.errors import ConfigError, PirigError, StartError
from pirig.interfaces import Policy
from pirig.launch import fetch, packs
from pirig.machine.placement import ANYWHERE, HostPlace
from pirig.policies.choice import ModelChoice, PackChoice
from pirig.policies.factory import require_readers
from pirig.policies.recipes import RECIPES, recipe

_log = logging.getLogger(__name__)
_THREADS_BESIDE_A_GPU = "2"  # of each policy host; the cores are the workers'


@dataclasses.dataclass(frozen=True)
class ModelLoader:
    """Calling it loads the model and warms it up. Pickles."""

    recipe: str
    directory: pathlib.Path
    choice: ModelChoice
    max_batch: int
    batch_on_cpu: bool  # False: one at a time on a CPU, where a batch gains nothing and would decide last bits
    pack: packs.Found | None = None  # quantized layers
    place: HostPlace = ANYWHERE

    def __call__(self) -> Policy:
        if self.place.gpu:
            envvars.export({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.place.gpu.uuid})
            envvars.export({"OMP_NUM_THREADS": _THREADS_BESIDE_A_GPU}, override=False)
        from pirig.policies import create_policy

        policy = create_policy(
            self.recipe,
            self.directory,
            self.choice,
            pack=PackChoice(self.pack.file, self.pack.configuration) if self.pack else None,
            max_batch=self.max_batch,
            batch_on_cpu=self.batch_on_cpu,
        )
        if self.pack and self.pack.verbose:
            for name, error in policy.metadata["quantization"]["error"]["by_layer"].items():
                _log.info("%s: quantized, relative output error %.3g", name, error)
        _log.info("warmed up in %.1f s", policy.warm_up())
        return policy


def prepare(
    recipe: str, directory: str, choice: ModelChoice, *, max_batch: int | Literal["auto"], auto_batch: int
) -> ModelLoader:
    """Find the checkpoint of a recipe, fetch what is missing of it, and find or make its pack.

    `directory`: a path or an address; empty: the published checkpoint. `auto_batch`: what auto means for `max_batch`
    on an accelerator. Raises ConfigError for an unknown recipe and for one without a published checkpoint, StartError
    where something cannot be fetched or made.
    """
    from pirig.checkpoints import assets

    url = checkpoint_url(recipe, directory)
    packs.checked(recipe, choice)  # before hours of downloading
    found = fetch.bring(url)
    file = assets.tokenizer_file(envvars.data_home())
    try:
        if not file.is_file():
            fetch.bring(assets.TOKENIZER)
    except PirigError as e:
        raise StartError(f"there is no tokenizer at {file}, and it cannot be fetched: {e}; copy it there") from e
    is_auto = max_batch == "auto"
    pack = packs.pack_for(recipe, found, choice)
    return ModelLoader(recipe, found, choice, auto_batch if is_auto else max_batch, not is_auto, pack)


def checkpoint_url(name: str, directory: str) -> str:
    """Return the path or address of a recipe's checkpoint. Asks no network. Raises as `prepare`."""
    require_readers()
    row = recipe(name)
    if not directory and not row.checkpoint:
        raise ConfigError(
            f"nobody has published a checkpoint of {name}; name a directory, or make one: "
            f"pirig checkpoint random {name} DIRECTORY"
        )
    return directory or row.checkpoint


def is_model(name: str) -> bool:
    """Whether a policy's name is a recipe, whose policy is a model with a checkpoint."""
    return name in RECIPES
