"""Which tests pytest-xdist gives to which process, and in which order: whole files, the longest first.

Two folders are units: tests of pages share a browser, tests of documents the port that documents name.
`make test-quick` leaves out the long files.
"""

from xdist.scheduler import LoadScopeScheduling

LONG = (  # files that take more than 20 CPU seconds, the longest first; all others follow in the order of their names
    "tests/faults/test_processes.py",
    "tests/sim/test_conformance.py",
    "tests/model_runs/test_models.py",
    "tests/evaluation/test_ray.py",
    "tests/policies/test_pi0.py",
    "tests/model_runs/test_ray.py",
    "tests/scripted_runs/test_eval.py",
    "tests/scripted_runs/test_recorded.py",
    "tests/sim/test_fast.py",
    "tests/models/test_golden.py",
    "tests/model_runs/test_quantize.py",
    "tests/test_old_runs.py",
    "tests/pages/",
    "tests/faults/test_servers.py",
    "tests/faults/test_machine.py",
    "tests/model_runs/test_hosts.py",
    "tests/scripted_runs/test_suites.py",
    "tests/sim/test_libero.py",
    "tests/scripted_runs/test_stopping.py",
)
WAITS = "tests/serving/test_openpi_client.py"  # for three minutes, in `make test-slow`; so it begins before all others
_UNITS = ("tests/pages/", "tests/docs/")


class ByFile(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def unit(nodeid: str) -> str:
    """Of tests that run in one process, one after another."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in _UNITS if file.startswith(folder)), file)


def place(nodeid: str) -> int:
    """Key to sort by; equal ones keep their order."""
    return (WAITS, *LONG, unit(nodeid)).index(unit(nodeid))


def is_long(nodeid: str) -> bool:
    return unit(nodeid) in LONG
