"""The repository's Markdown, as its tests read it: headings, links, and fenced blocks with the mark above them.

A mark is an HTML comment on the line above a block:

    <!-- run -->            a test runs it, as it stands
    <!-- run: slow -->      a slow test does
    <!-- run: ci -->        .ci/run does: each of its lines is a step there
    <!-- needs: gpu -->     no test can run it (words of NEEDS, with commas); its commands are read by their parsers
    <!-- file: PATH -->     its text is that file's, which a block below runs
    <!-- prints -->         of a text block: what the block above prints, line by line, `…` standing for anything
"""

import ast
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))

_SITE = (ROOT / "scripts/docs_site.py").read_text()
NEEDS = ast.literal_eval(re.findall(r"^NEEDS = (\{.*?^\})", _SITE, re.M | re.S)[0])

_FENCE = re.compile(r"^```(\w*)$")
_MARK = re.compile(r"^<!-- (run|needs|file|prints)(?:: ([\w, ./]+))? -->$")


@dataclasses.dataclass(frozen=True)
class Block:
    page: pathlib.Path
    line: int
    language: str
    text: str
    mark: str = ""  # run, needs, file, prints
    words: tuple[str, ...] = ()  # of the mark

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: pathlib.Path) -> list[Block]:
    """Fenced blocks, in order."""
    found: list[Block] = []
    opened: Block | None = None
    inside: list[str] = []
    above = ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            mark = _MARK.match(above)
            words = tuple(word.strip() for word in (mark[2] or "").split(",")) if mark and mark[2] else ()
            opened, inside = Block(page, number, fence[1], "", mark[1] if mark else "", words), []
        elif opened is not None and line == "```":
            found.append(dataclasses.replace(opened, text="\n".join(inside) + "\n"))
            opened = None
        elif opened is not None:
            inside.append(line)
        above = line
    assert opened is None, f"{page}: the block of line {opened.line} has no end"
    return found


def prose(page: pathlib.Path) -> str:
    """The page without its blocks and comments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return re.sub(r"<!--.*?-->", "", text, flags=re.S)


def headings(page: pathlib.Path) -> list[tuple[int, str]]:
    """Level and words."""
    return [(len(marks), words) for marks, words in re.findall(r"^(#{1,6}) (.+)$", prose(page), re.M)]


def anchors(page: pathlib.Path) -> set[str]:
    """Those that a forge and mkdocs make alike: of headings whose words are ASCII."""
    plain = [re.sub(r"[^\w\s-]", "", words.lower()).strip() for _, words in headings(page)]
    return {re.sub(r"\s", "-", words) for words in plain if words.isascii() and "  " not in words}


def links(page: pathlib.Path) -> list[str]:
    """Targets, of pictures too."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))
