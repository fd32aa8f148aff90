"""Simulators run in processes of their own: two render contexts in one process mix up their images.

Several tests run at a time, each with processes of its own: threads for all cores in each of them would wait for each
other more than they work, seventy times as long where it was measured.
"""

import concurrent.futures
import multiprocessing
import os
import signal

import hypothesis
import pytest

pytest_plugins = ["faults.table"]
os.environ.setdefault("OMP_NUM_THREADS", "2")  # before NumPy and PyTorch read it
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:  # nohup, or a shell's background: what tests start would inherit it
        signal.signal(number, usual)
hypothesis.settings.register_profile("long", max_examples=2000)  # make fuzz


@pytest.fixture
def processes():
    """An executor whose every call runs in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=spawn, max_tasks_per_child=1) as pool:
        yield pool
