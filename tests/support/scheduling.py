"""Which tests pytest-xdist gives to which process, and in which order: whole files, the longest first.

The pages are one unit, because they share a browser.
"""

from xdist.scheduler import LoadScopeScheduling

LONGEST_FIRST = (  # of `make test`, by CPU seconds; all others follow in the order of their names
    "tests/faults/test_processes.py",
)
_PAGES = "tests/pages/"


class ByFile(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def unit(nodeid: str) -> str:
    """Of tests that run in one process, one after another."""
    file = nodeid.partition("::")[0]
    return _PAGES if file.startswith(_PAGES) else file


def place(nodeid: str) -> int:
    """Key to sort by; equal ones keep their order."""
    file = unit(nodeid)
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
