"""One browser for all pages."""

import pytest

from support.browser import CHROMIUM, browser


@pytest.fixture(scope="session")
def opened_browser():
    if CHROMIUM is None:
        pytest.skip("needs chromium; as root: apt-get install chromium")
    with browser() as tab:
        yield tab


@pytest.fixture
def tab(opened_browser):
    """The browser's tab, with nothing to complain about yet."""
    opened_browser.complaints.clear()
    return opened_browser
