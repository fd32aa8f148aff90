"""Simulators run in processes of their own: two render contexts in one process mix up their images.

Several tests run at a time, each with processes of its own, so each process computes in one thread: with two threads on
two busy cores, threads wait for each other in a loop, and a tiny model takes ten times the CPU seconds. They share what
JAX compiles, too: a tiny π0.5 loads in 1.6 CPU seconds instead of 10.5, and gives the same bits.
"""

import atexit
import concurrent.futures
import importlib.util
import multiprocessing
import os
import shutil
import signal
import tempfile

import hypothesis
import pytest

from support import scheduling, shared_runs

pytest_plugins = ["faults.table"]
_NEED_PACKAGES = {  # files that are no part of `make test`: a target of their own installs what they need
    "quantization/test_triton_kernels.py": "triton",  # make test-triton
    "launch/test_hosted_trackers.py": "trackio",  # make test-trackers
}
collect_ignore = [file for file, package in _NEED_PACKAGES.items() if not importlib.util.find_spec(package)]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch read it
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # this is the first process of the session; others inherit its choice
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="pirig-jax-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:  # nohup, or a shell's background: what tests start would inherit it
        signal.signal(number, usual)
hypothesis.settings.register_profile("long", max_examples=2000)  # make fuzz


def pytest_configure(config):
    config.option.loadscopereorder = False  # pytest-xdist would start with the files that have the most tests


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: scheduling.place(item.nodeid))
    for item in items:
        if scheduling.is_long(item.nodeid):
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return scheduling.ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def processes():
    """An executor whose every call runs in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=spawn, max_tasks_per_child=1) as pool:
        yield pool


@pytest.fixture(scope="session")
def shared(request, tmp_path_factory):
    """A folder of this session, the same for all processes that test."""
    base = tmp_path_factory.getbasetemp()  # of this process, where pytest-xdist has several
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def finished_run(shared):
    """`finished_run(kind, folder)`: a copy of a run of `support.shared_runs` in `folder`."""
    return lambda kind, folder: shared_runs.copy(kind, shared, folder)
