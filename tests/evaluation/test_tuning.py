"""How many workers and how large a batch, from tables."""

import dataclasses

import pytest

from pirig.evaluation.tuning import Measured, batch_times, time_left, tune

H100 = {1: (10, 0.30), 4: (10, 0.36), 8: (40, 1.76)}  # 30 ms, 36 ms, 44 ms: a line of 28 ms and 2 ms a row
CPU = {1: (5, 5.0), 2: (5, 10.0)}  # 1 s a row, in whatever company
NONE = Measured(workers=4, cores=4, room=40, hosts=0, chunk_s=0.125, wait_s=0.001, steps_per_chunk=5.0, batches={})


def test_without_inference_every_core_has_a_worker():
    found = tune(NONE, 1)
    assert (found.workers, found.max_batch, found.bottleneck) == (4, None, "simulation")
    assert found.steps_per_s == pytest.approx(4 / 0.125 * 5)
    assert tune(dataclasses.replace(NONE, workers=2), 1).workers == 4


def test_cores_are_not_left_idle_while_workers_wait_for_a_fast_policy():
    found = tune(dataclasses.replace(NONE, workers=16, cores=16, room=80, hosts=1, batches=H100), 32)
    assert found.bottleneck == "simulation"
    assert 16 < found.workers < 32
    elsewhere = tune(dataclasses.replace(NONE, wait_s=0.1), 1)
    assert elsewhere.workers == round(4 * (1 + 1.25 * 0.1 / 0.125))
    assert elsewhere.max_batch is None


def test_no_more_workers_than_keep_a_slow_policy_busy():
    found = tune(dataclasses.replace(NONE, workers=4, hosts=1, batches=CPU, wait_s=2.0), 4)
    assert found.bottleneck == "inference"
    assert found.workers == 1
    assert found.max_batch == 1
    assert found.steps_per_s == pytest.approx(5.0)


def test_two_hosts_are_fed_by_twice_the_workers():
    many = dataclasses.replace(NONE, workers=64, cores=128, room=512, chunk_s=0.01, batches=H100)
    one, two = (tune(dataclasses.replace(many, hosts=hosts), 16) for hosts in (1, 2))
    assert one.bottleneck == two.bottleneck == "inference"
    assert two.workers == pytest.approx(2 * one.workers, abs=1)
    assert two.steps_per_s == pytest.approx(2 * one.steps_per_s)


def test_memory_bounds_the_number_of_workers():
    found = tune(dataclasses.replace(NONE, workers=2, cores=16, room=6, hosts=1, batches=H100), 16)
    assert (found.workers, found.bottleneck) == (6, "memory")


def test_a_small_change_is_not_worth_a_scene():
    assert tune(dataclasses.replace(NONE, workers=16, cores=17), 1).workers == 16


def test_the_smallest_batch_that_is_nearly_as_good():
    """A GPU gains by every row, so it takes all; a CPU gains nothing, so it takes one at a time."""
    busy = dataclasses.replace(NONE, workers=64, cores=64, room=512, hosts=1, chunk_s=0.02)
    assert tune(dataclasses.replace(busy, batches=H100), 32).max_batch > 26
    assert tune(dataclasses.replace(busy, batches=CPU), 32).max_batch == 1
    assert tune(dataclasses.replace(busy, batches={8: (3, 0.15)}), 32).max_batch == 8


def test_batches_lie_on_a_line_that_neither_falls_nor_starts_below_nothing():
    line = batch_times(H100)
    assert [1e3 * line(n) for n in (1, 4, 8, 16)] == pytest.approx([30, 36, 44, 60], abs=0.5)
    assert batch_times({1: (1, 2.0), 2: (1, 1.0)})(9) == pytest.approx(1.5)
    assert batch_times({1: (1, 1.0), 2: (1, 4.0)})(4) == pytest.approx(2.5 / 1.5 * 4)
    alone = batch_times({4: (1, 2.0)})
    assert [alone(n) for n in (1, 4, 8)] == pytest.approx([2.0, 2.0, 4.0])


def test_the_time_that_is_left_is_of_the_steps_that_are_left():
    assert time_left([230, 230, 530], share=0.5, steps_per_s=99.0) == pytest.approx(5.0)
