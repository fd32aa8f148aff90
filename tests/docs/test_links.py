"""Links and paths in documents lead somewhere. Addresses elsewhere are only read: no test asks the network."""

import re
import urllib.parse

import pytest

from support.markdown import PAGES, ROOT, anchors, links, prose

PATH = re.compile(r"`((?:src|scripts|docs|examples|tests|benchmarks|docker|locks)/[\w./-]*\w)/?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in links(page):
        parts = urllib.parse.urlsplit(target)
        if parts.scheme:
            assert parts.scheme == "https", target
            assert "." in parts.netloc, target
            continue
        file = (page.parent / parts.path).resolve() if parts.path else page
        assert file.is_relative_to(ROOT), f"{page.name} links to {target}, which is not there"
        assert file.is_file(), f"{page.name} links to {target}, which is not there"
        assert not parts.fragment or parts.fragment in anchors(file), f"{page.name}: {target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_is_there(page):
    """But for ARCHITECTURE.md, which leaves `src/pirig/` out."""
    for path in PATH.findall(prose(page)):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_page_is_in_the_site():
    listed = set(re.findall(r"([\w-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    there = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert there <= listed, f"mkdocs.yml does not list {there - listed}"
