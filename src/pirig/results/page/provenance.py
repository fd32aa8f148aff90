"""Render what manifests record, as nested lists, and two manifests side by side.

The lists depend on no particular key, so that everything that was recorded is visible.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pirig.results.page.html import Html, element, join

_LONG = 40  # entries of the longest list that is not folded
_MANY = 24  # entries of the largest mapping that is shown in full
_OF_THE_MOMENT = frozenset(
    ("began", "ended", "command", "episodes", "setup_s", "timings", "started_workers", "warm_up_s")
)


def tree(value: Any) -> Html:
    """Render a plain JSON value as nested lists."""
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _sequence(value)
    return _scalar(value)


def _mapping(value: Mapping[str, Any]) -> Html:
    if not value:
        return _nothing("nothing")
    rows = [join(element("dt", str(key).replace("_", " ")), element("dd", tree(item))) for key, item in value.items()]
    found = element("dl", *rows, class_="tree")
    return found if len(value) <= _MANY else element("details", element("summary", f"{len(value)} entries"), found)


def _sequence(value: Sequence[Any]) -> Html:
    if not value:
        return _nothing("none")
    if not any(isinstance(item, Mapping) for item in value):
        said = element("span", ", ".join(map(str, value)))
        return said if len(value) <= _LONG else element("details", element("summary", f"{len(value)} entries"), said)
    items = [
        element(
            "details", element("summary", f"{number} of {len(value)}{_hint(item)}"), tree(item), open=len(value) == 1
        )
        for number, item in enumerate(value, start=1)
    ]
    return join(*items)


def _hint(item: Any) -> str:
    """Return the first words of a folded entry."""
    words = [str(v) for v in item.values() if isinstance(v, (str, int, float))] if isinstance(item, Mapping) else []
    return f": {words[0]}" if words else ""


def _scalar(value: Any) -> Html:
    if value is None or value == "":
        return _nothing("–")
    if isinstance(value, bool):
        return element("span", "yes" if value else "no")
    return element("span", str(value))


def _nothing(word: str) -> Html:
    return element("span", word, class_="quiet")


def made_with(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what determines a run, and what its last command worked with, without times and durations."""
    parts = [manifest, *(part.get("notes", {}) for part in manifest.get("merged_from", []))]
    sessions = [session for part in parts for session in part.get("sessions", [])]
    last = dict(sessions[-1]) if sessions else {}
    worker = dict(next(iter(last.get("started_workers", [])), {}))
    session = {key: value for key, value in last.items() if key not in _OF_THE_MOMENT}
    found = {key: manifest[key] for key in ("configuration", "protocol", "assets", "stopping") if key in manifest}
    return found | {"session": session | {"worker": {k: v for k, v in worker.items() if k not in _OF_THE_MOMENT}}}


def beside(a: Mapping[str, Any], b: Mapping[str, Any]) -> Html:
    """Render two results of `made_with`, entry by entry.

    Entries that differ come first and are marked; equal entries are folded below them.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    names = [*left, *(name for name in right if name not in left)]
    different = [name for name in names if left.get(name, "") != right.get(name, "")]
    same = [name for name in names if left.get(name, "") == right.get(name, "")]
    words = f"{len(same)} entries are the same"
    return join(
        _beside(different, left, right) if different else element("p", "They differ in nothing.", class_="note"),
        element("details", element("summary", words), _beside(same, left, right)) if same else None,
    )


def _beside(names: Sequence[str], left: Mapping[str, str], right: Mapping[str, str]) -> Html:
    head = element("tr", *(element("th", text, scope="col") for text in ("", "A", "B")))
    rows = []
    for name in names:
        differs = left.get(name, "") != right.get(name, "")
        cells = (element("td", _scalar(side.get(name))) for side in (left, right))
        mark = element("span", "≠ ", class_="unlike") if differs else None
        rows.append(element("tr", element("th", mark, name.replace("_", " "), scope="row"), *cells))
    return element("table", element("thead", head), element("tbody", *rows), class_="beside")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of a JSON value by path, e.g. `configuration versions mujoco`.

    A list of plain values is one leaf. A mapping of many names to one number each is one leaf too, given by its number
    of entries and a hash.
    """
    if isinstance(value, Mapping):
        if len(value) > _MANY and all(isinstance(item, (int, float)) for item in value.values()):
            content = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
            yield name, f"{len(value)} entries, {content[:8]}"
            return
        items: list[tuple[str, Any]] = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if not any(isinstance(item, Mapping) for item in value):
            yield name, ", ".join(map(str, value))
            return
        items = [(str(number), item) for number, item in enumerate(value, start=1)]
    else:
        yield name, "" if value is None else str(value)
        return
    for key, item in items:
        yield from _leaves(item, f"{name} {key}".strip())
