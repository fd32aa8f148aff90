"""Build HTML that its content cannot break.

Law: Text becomes markup only by `element`; whatever is not `Html` is escaped, in contents and attributes alike.
"""

import html
import importlib.resources

_VOID = frozenset({"meta", "rect", "line", "circle", "path", "input"})  # have no end tag; SVG's are self-closing
_ATTRIBUTES = {"class_": "class", "for_": "for"}


class Html(str):
    """An `Html` string is markup, as opposed to text."""

    __slots__ = ()


def element(tag: str, *children: str | None, **attributes: object) -> Html:
    """Return an element with its children and attributes.

    `class_` means class, `data_x` means data-x. An attribute that is None or False is omitted; one that is True has no
    value.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = _ATTRIBUTES.get(name) or name.replace("_", "-")
        words.append(name if value is True else f'{name}="{html.escape(str(value))}"')
    if tag in _VOID:
        return Html(f"<{' '.join(words)}/>")
    return Html(f"<{' '.join(words)}>{join(*children)}</{tag}>")


def join(*children: str | None) -> Html:
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children if c is not None))


def section(name: str, title: str, *parts: str | None, note: str = "", class_: str = "") -> Html:
    said = element("p", note, class_="note") if note else None
    return element("section", element("h2", title), said, *parts, id=name, class_=f"card {class_}".strip())


def document(title: str, *body: str | None, script: str = "", attributes: dict[str, str] | None = None) -> str:
    """Return a whole page that contains everything it needs."""
    head = join(
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(resource("style.css"))),
    )
    scripts = element("script", Html(resource(script))) if script else None
    page = element("html", element("head", head), element("body", *body, scripts, **(attributes or {})), lang="en")
    return f"<!doctype html>\n{page}\n"


def resource(name: str) -> str:
    """Return the content of a file of this package."""
    return (importlib.resources.files("pirig.results.page") / name).read_text(encoding="utf-8")


def percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def interval(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.1f} – {100 * bounds[1]:.1f}"
