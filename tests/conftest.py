"""Simulators run in processes of their own: two render contexts in one process mix up their images."""

import concurrent.futures
import multiprocessing

import hypothesis
import pytest

hypothesis.settings.register_profile("long", max_examples=2000)  # make fuzz


@pytest.fixture
def processes():
    """An executor whose every call runs in a new process."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=spawn, max_tasks_per_child=1) as pool:
        yield pool
