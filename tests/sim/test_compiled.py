"""One worker compiles, the others wait."""

import concurrent.futures
import time

import pytest

from pirig.sim import compiled


def test_of_many_who_come_at_once_one_compiles_and_the_others_wait_for_it(tmp_path):
    began, ended = [], []

    def compile_everything():
        began.append(time.monotonic())
        time.sleep(0.3)
        ended.append(time.monotonic())

    def work(_):
        compiled.once(tmp_path / "cache", compile_everything)
        return time.monotonic()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        went_on = list(pool.map(work, range(8)))
    assert len(began) == 1
    assert min(went_on) >= ended[0]
    work(0)
    assert len(began) == 1


def test_one_who_fails_leaves_it_to_the_next(tmp_path):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compiled.once(tmp_path, fail)
    done = []
    compiled.once(tmp_path, lambda: done.append(1))
    assert done == [1]
