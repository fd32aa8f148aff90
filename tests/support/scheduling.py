"""Which tests pytest-xdist gives to which process, and in which order: whole files, the longest first.

The pages are one unit, because they share a browser.
"""

from xdist.scheduler import LoadScopeScheduling

LONGEST_FIRST = (  # of `make test`, by CPU seconds; all others follow in the order of their names
    "tests/faults/test_processes.py",
    "tests/sim/test_conformance.py",
    "tests/cli/test_models.py",
    "tests/evaluation/test_ray.py",
    "tests/policies/test_pi0.py",
    "tests/cli/test_ray.py",
    "tests/cli/test_eval.py",
    "tests/cli/test_recorded.py",
    "tests/sim/test_fast.py",
    "tests/models/test_golden.py",
    "tests/cli/test_quantize.py",
    "tests/pages/",
    "tests/faults/test_servers.py",
    "tests/faults/test_machine.py",
    "tests/cli/test_hosts.py",
    "tests/cli/test_suites.py",
    "tests/sim/test_libero.py",
    "tests/cli/test_stopping.py",
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
