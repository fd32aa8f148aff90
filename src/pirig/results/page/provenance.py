"""Whatever a manifest says, as nested lists. Knows no key, so that nothing which is noted stays unseen."""

from collections.abc import Mapping, Sequence
from typing import Any

from pirig.results.page.html import Html, element, join

_LONG = 40  # entries of a list
_MANY = 24  # names with a value each


def tree(value: Any) -> Html:
    """Plain JSON."""
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
    """The first words of a folded entry."""
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
