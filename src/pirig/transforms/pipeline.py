"""Transforms are functions from dict to dict. A pipeline applies several of them in a fixed order.

Law: A transform never changes the dict or the arrays that it is given.
The source of all transforms is openpi's `transforms.py` and `policies/libero_policy.py`, whose outputs are the golden
values.
"""

import functools
from collections.abc import Callable
from typing import Any

Transform = Callable[[dict[str, Any]], dict[str, Any]]


def chain(*transforms: Transform) -> Transform:
    """Compose transforms. The first one is applied first."""

    def run(data: dict[str, Any]) -> dict[str, Any]:
        return functools.reduce(lambda value, transform: transform(value), transforms, data)

    return run
