"""Find a model's checkpoint, and make it a value that loads the model in another process."""

import dataclasses
import logging
import pathlib
from typing import Literal

from pirig import envvars
from pirig.checkpoints.address import TOKENIZER
from pirig.errors import ConfigError, PirigError, StartError
from pirig.interfaces import Policy
from pirig.launch import fetch, packs
from pirig.machine.placement import ANYWHERE, HostPlace
from pirig.policies.choice import ModelChoice, PackChoice
from pirig.policies.factory import require_readers
from pirig.policies.recipes import Recipe

_log = logging.getLogger(__name__)
_THREADS_BESIDE_A_GPU = "2"  # per policy host; the other cores are for the workers


@dataclasses.dataclass(frozen=True)
class ModelLoader:
    """Load the model and warm it up when called. Pickles."""

    recipe: str
    directory: pathlib.Path
    choice: ModelChoice
    max_batch: int
    batch_on_cpu: bool  # False: batches of one on a CPU, where larger ones gain nothing and change the last bits
    pack: packs.Found | None = None  # quantized layers
    place: HostPlace = ANYWHERE

    def __call__(self) -> Policy:
        if self.place.gpu:
            envvars.export({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.place.gpu.uuid})
            envvars.export({"OMP_NUM_THREADS": _THREADS_BESIDE_A_GPU}, override=False)
        from pirig.checkpoints import assets
        from pirig.policies import create_policy

        policy = create_policy(
            self.recipe,
            self.directory,
            self.choice,
            pack=PackChoice(self.pack.file, self.pack.configuration) if self.pack else None,
            max_batch=self.max_batch,
            batch_on_cpu=self.batch_on_cpu,
            tokenizer=assets.tokenizer_file(envvars.data_home()),
            cache=envvars.cache_dir(),
        )
        if self.pack and self.pack.verbose:
            for name, error in policy.metadata["quantization"]["error"]["by_layer"].items():
                _log.info("%s: quantized, relative output error %.3g", name, error)
        _log.info("warmed up in %.1f s", policy.warm_up())
        return policy


@dataclasses.dataclass(frozen=True)
class ModelRequest:
    """The model that was asked for: its recipe, its checkpoint, and how it is computed."""

    recipe: Recipe
    directory: str  # or address; empty: the published checkpoint
    choice: ModelChoice

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return self.recipe.name

    def prepare(self, max_batch: int | Literal["auto"], auto_batch: int) -> ModelLoader:
        """Find the checkpoint, fetch what is missing of it, and find or make its pack.

        `auto_batch`: what auto means for `max_batch` on an accelerator. Raises ConfigError for a recipe without a
        published checkpoint, StartError where something cannot be fetched or made.
        """
        from pirig.checkpoints import assets

        url = self.url()
        packs.checked(self.name, self.choice)  # a mistake is reported before hours of downloading
        found = fetch.bring(url)
        file = assets.tokenizer_file(envvars.data_home())
        try:
            if not file.is_file():
                fetch.bring(TOKENIZER)
        except PirigError as e:
            raise StartError(f"there is no tokenizer at {file}, and it cannot be fetched: {e}; copy it there") from e
        pack = packs.pack_for(self.name, found, self.choice)
        if max_batch == "auto":
            return ModelLoader(self.name, found, self.choice, auto_batch, batch_on_cpu=False, pack=pack)
        return ModelLoader(self.name, found, self.choice, max_batch, batch_on_cpu=True, pack=pack)

    def url(self) -> str:
        """Return the path or address of the checkpoint. Uses no network. Raises as `prepare`."""
        require_readers()
        if not self.directory and not self.recipe.checkpoint:
            raise ConfigError(
                f"nobody has published a checkpoint of {self.name}; name a directory, or make one: "
                f"pirig checkpoint random {self.name} DIRECTORY"
            )
        return self.directory or self.recipe.checkpoint
