"""Transforms are functions from dict to dict; a pipeline is several of them, in order. The order is what matters.

Law: a transform never changes the dict or the arrays it is given.
Source of all of them: openpi's `transforms.py` and `policies/libero_policy.py`, whose outputs are the golden values.
"""

import functools
from collections.abc import Callable
from typing import Any

Transform = Callable[[dict[str, Any]], dict[str, Any]]


def chain(*transforms: Transform) -> Transform:
    """The first transform sees the input."""

    def run(data: dict[str, Any]) -> dict[str, Any]:
        return functools.reduce(lambda value, transform: transform(value), transforms, data)

    return run
