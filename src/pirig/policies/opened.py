"""Open a checkpoint that fits its recipe, with everything else that a policy needs: norm stats and tokenizer."""

import dataclasses
import pathlib
from collections.abc import Mapping

from pirig.checkpoints import address, assets, read
from pirig.checkpoints.read import Checkpoint
from pirig.errors import ConfigError
from pirig.models import weights
from pirig.policies.recipes import Recipe
from pirig.policies.recipes import recipe as find_recipe
from pirig.transforms.normalize import NormStats, parse_norm_stats
from pirig.transforms.prompt import PromptTokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class OpenedCheckpoint:
    """An opened checkpoint reads its weights on access: each array comes from disk, in the dtype of the model."""

    recipe: Recipe
    directory: pathlib.Path
    checkpoint: Checkpoint
    fingerprint: str  # of the content as stored, independent of the dtype that it is read in
    stats: Mapping[str, NormStats]
    tokenizer: PromptTokenizer


def open_checkpoint(
    recipe: str,
    directory: str | pathlib.Path,
    dtype: str,
    *,
    tokenizer: str | pathlib.Path = assets.DEFAULT_TOKENIZER,
    cache: str | pathlib.Path = assets.DEFAULT_CACHE,
) -> OpenedCheckpoint:
    """Open the checkpoint of a recipe, and check that it is the recipe's model.

    Args:
        dtype: dtype to read the arrays in, "bfloat16" or "float32".
        tokenizer: PaliGemma's SentencePiece model.
        cache: folder where fingerprints are kept, because computing one takes long.

    Raises ConfigError if the recipe is unknown, if the checkpoint is of another model, or if something is missing or
    cannot be read.
    """
    row, folder = find_recipe(recipe), pathlib.Path(directory)
    stored = read.open_checkpoint(folder)
    weights.check(stored.arrays, row.model)
    fingerprint = assets.fingerprint(
        stored, pathlib.Path(cache).expanduser()
    )  # reads all arrays, so it runs before a model takes memory
    stats = parse_norm_stats(assets.norm_stats(folder, row.asset_id), f"the norm stats of {folder}")
    words = PromptTokenizer(_tokenizer_file(tokenizer), row.model.max_tokens)
    return OpenedCheckpoint(row, folder, stored.as_dtype(dtype), fingerprint, stats, words)


def _tokenizer_file(given: str | pathlib.Path) -> pathlib.Path:
    file = pathlib.Path(given).expanduser()
    if not file.is_file():
        raise ConfigError(
            f"there is no tokenizer at {file}; get it with: pirig checkpoint fetch {address.TOKENIZER}, "
            f"or set OPENPI_DATA_HOME to the folder that has {address.TOKENIZER_PATH}"
        )
    return file
