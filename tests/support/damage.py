"""Ways to spoil a file or a document, as values: drawn by hypothesis for tests, by a seeded generator for long runs."""

import copy
import random
from typing import Any

from hypothesis import strategies as st

Edit = tuple[int, int, bytes]
"""A place, how many bytes are cut out there, what is put in instead."""
DEEP = b"[" * 100_000
REMOVED = object()

EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 30), st.binary(max_size=8)), min_size=1, max_size=3)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["../../etc/passwd", "/etc/passwd", "a/b", "BF16", "F8_E4M3", "x|y", "\x00"])
)
JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), JSON | st.just(REMOVED)), min_size=1, max_size=2)


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    for place, cut, put in edits:
        at = place % (len(data) + 1)
        data = data[:at] + put + data[at + cut :]
    return data


def some_edits(draw: random.Random) -> list[Edit]:
    return [
        (draw.randrange(1 << 20), draw.choice((0, 0, 1, 1, 4, 1000)), draw.randbytes(draw.choice((0, 1, 1, 4))))
        for _ in range(draw.choice((1, 1, 2, 8)))
    ]


def changed(document: Any, changes: list[tuple[int, Any]]) -> Any:
    """With some of its nodes replaced, or removed; the node's number wraps around."""
    document = copy.deepcopy(document)
    for number, value in changes:
        places = list(_places(document))
        if not places:
            return value if value is not REMOVED else None
        owner, key = places[number % len(places)]
        if value is REMOVED:
            del owner[key]
        else:
            owner[key] = copy.deepcopy(value)
    return document


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in list(items):
        yield node, key
        yield from _places(child)
