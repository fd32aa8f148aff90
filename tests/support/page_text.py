"""A page as a tree, to ask what it says: Python's own HTML parser, with well-formedness checked on the way."""

import dataclasses
import html.parser
from collections.abc import Iterator

_VOID = {"meta", "input", "rect", "line", "circle", "path"}


@dataclasses.dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    children: list["Node | str"] = dataclasses.field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self._words()).split())

    def _words(self) -> Iterator[str]:
        for child in self.children:
            yield from [child] if isinstance(child, str) else child._words()

    def find(self, tag: str = "", **attributes: str) -> list["Node"]:
        """Descendants; `class_` matches one of the classes."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                if (not tag or child.tag == tag) and all(child.has(k, v) for k, v in attributes.items()):
                    found.append(child)
                found += child.find(tag, **attributes)
        return found

    def one(self, tag: str = "", **attributes: str) -> "Node":
        (node,) = self.find(tag, **attributes)
        return node

    def has(self, name: str, value: str) -> bool:
        if name == "class_":
            return value in (self.attributes.get("class") or "").split()
        return self.attributes.get(name.replace("_", "-")) == value


class _Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = [Node("", {})]

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in _VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        assert tag in _VOID, f"{tag} is closed as if it were empty"
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parse(text: str) -> Node:
    """Raises AssertionError where tags do not nest."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert len(parser.open) == 1, f"{parser.open[-1].tag} is never closed"
    return parser.open[0]
