"""Normalize state and actions by a data set's statistics: z-score (π0) or quantile (π0.5). Nothing is clipped.

    z-score    (x - mean) / (std + 1e-6)
    quantile   (x - q01) / (q99 - q01 + 1e-6) * 2 - 1

For normalization, the statistics are cut to the size of x. For unnormalization, x is the model's output, padded to 32.
Dimensions without statistics are then passed through (with z-score they are scaled by 1 + 1e-6, as in the reference,
which pads std with ones).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pirig.errors import ConfigError, DamagedFile
from pirig.transforms.pipeline import Transform

_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class NormStats:
    """The statistics of one array, float64[D] each."""

    mean: np.ndarray
    std: np.ndarray
    q01: np.ndarray | None = None
    q99: np.ndarray | None = None


def parse_norm_stats(document: Mapping[str, Any], source: str = "norm stats") -> dict[str, NormStats]:
    """Parse the content of a `norm_stats.json`.

    Raises ConfigError, with `source` (the file) and the reason in its message, if it is invalid.
    """
    form = '{"norm_stats": {"state": {"mean": [...], "std": [...], "q01": [...], "q99": [...]}, ...}}'
    try:
        return {name: _parse(rows) for name, rows in document["norm_stats"].items()}
    except (KeyError, AttributeError) as e:
        raise DamagedFile(f"{source} must be {form}; found no {e}") from e
    except (TypeError, ValueError) as e:
        raise DamagedFile(f"{source} must be {form}, lists of numbers of one length: {e}") from e


def _parse(rows: Mapping[str, Any]) -> NormStats:
    mean = np.asarray(rows["mean"], np.float64)

    def array(name: str) -> np.ndarray:
        found = np.asarray(rows[name], np.float64)
        if found.ndim != 1 or found.shape != mean.shape or not np.isfinite(found).all():
            raise ValueError(f"{name} has the shape {list(found.shape)}, and mean {list(mean.shape)}, or is not finite")
        return found

    q01, q99 = (None if rows.get(name) is None else array(name) for name in ("q01", "q99"))
    return NormStats(array("mean"), array("std"), q01, q99)


def normalize(stats: Mapping[str, NormStats], *, quantile: bool) -> Transform:
    """Return the transform that normalizes each array that has statistics and is present."""
    _check(stats, quantile)
    way_in = _quantile_in if quantile else _z_score_in
    return lambda data: {**data, **{key: way_in(data[key], one) for key, one in stats.items() if key in data}}


def unnormalize(stats: Mapping[str, NormStats], *, quantile: bool) -> Transform:
    """Return the inverse transform of `normalize`. It raises KeyError if an array that has statistics is missing."""
    _check(stats, quantile)
    way_out = _quantile_out if quantile else _z_score_out
    return lambda data: {**data, **{key: way_out(data[key], one) for key, one in stats.items()}}


def _check(stats: Mapping[str, NormStats], quantile: bool) -> None:
    lacking = [key for key, one in stats.items() if quantile and (one.q01 is None or one.q99 is None)]
    if lacking:
        raise ConfigError(f"norm stats of {', '.join(lacking)} have no q01 and q99, which quantile normalization needs")


def _z_score_in(x: np.ndarray, stats: NormStats) -> np.ndarray:
    size = x.shape[-1]
    return (x - stats.mean[:size]) / (stats.std[:size] + _EPSILON)


def _z_score_out(x: np.ndarray, stats: NormStats) -> np.ndarray:
    missing = max(0, x.shape[-1] - stats.mean.shape[-1])
    mean, std = np.pad(stats.mean, (0, missing)), np.pad(stats.std, (0, missing), constant_values=1.0)
    return x * (std + _EPSILON) + mean


def _quantile_in(x: np.ndarray, stats: NormStats) -> np.ndarray:
    assert stats.q01 is not None
    assert stats.q99 is not None
    low, high = stats.q01[: x.shape[-1]], stats.q99[: x.shape[-1]]
    return (x - low) / (high - low + _EPSILON) * 2.0 - 1.0


def _quantile_out(x: np.ndarray, stats: NormStats) -> np.ndarray:
    assert stats.q01 is not None
    assert stats.q99 is not None
    low, high = stats.q01, stats.q99
    size = low.shape[-1]
    known = (x[..., :size] + 1.0) / 2.0 * (high - low + _EPSILON) + low
    return np.concatenate((known, x[..., size:]), axis=-1) if x.shape[-1] > size else known
