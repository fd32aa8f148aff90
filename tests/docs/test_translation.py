"""README.zh-CN.md says what README.md says: the same headings, commands, links, tables and numbers, in order."""

import re

from support import shell_commands as commands
from support.markdown import CHINESE, README, blocks, headings, links, prose


def rows(page):
    """Columns of each row of each table."""
    return [line.count("|") for line in prose(page).splitlines() if line.startswith("|")]


def sections(page):
    return re.split(r"^#+ .*$", prose(page), flags=re.M)


def numbers(text):
    """Sorted: a sentence may have another order in another language."""
    return sorted(re.findall(r"\d+(?:[.:]\d+)*", re.sub(r"\]\([^)]*\)", "", text)))


def test_headings_are_as_many():
    assert [level for level, _ in headings(README)] == [level for level, _ in headings(CHINESE)]


def test_blocks_and_their_marks_are_the_same():
    """But for comments, which are translated."""
    assert len(blocks(README)) == len(blocks(CHINESE))
    for ours, theirs in zip(blocks(README), blocks(CHINESE), strict=True):
        assert (ours.language, ours.mark, ours.words) == (theirs.language, theirs.mark, theirs.words)
        if ours.language == "sh":
            assert list(commands.commands(ours.text)) == list(commands.commands(theirs.text)), theirs.name
        else:
            assert ours.text == theirs.text


def test_tables_have_the_same_shape():
    assert rows(README) == rows(CHINESE)


def test_links_are_the_same():
    other = {"README.md": "README.zh-CN.md", "README.zh-CN.md": "README.md"}
    assert links(README) == [other.get(target, target) for target in links(CHINESE)]


def test_each_section_has_the_same_numbers():
    for ours, theirs in zip(sections(README), sections(CHINESE), strict=True):
        assert numbers(ours) == numbers(theirs), theirs
