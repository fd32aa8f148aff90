"""Compute the best number of workers and the best batch size from measurements of one minute. Pure functions.

A worker computes for `chunk_s`, then waits for a chunk of actions. Three rates limit the throughput [chunks/s]:

    cores / chunk_s                          simulation: every core is busy with a worker
    hosts * n / batch_s(n)                   inference: every policy host computes batches of n, one after another
    room / (chunk_s + batch_s(n))            memory: no more workers fit, and each one waits for its answers

The lowest of them is the bottleneck. The best number of workers is the one that keeps it busy. No result depends on
these numbers.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

Bottleneck = Literal["simulation", "inference", "memory"]
_SPARE = 1.25  # factor on the waiting time: workers also wait for the batch before theirs
_WORTH = 0.1  # smallest relative change of the number of workers that is made
_ENOUGH = 0.95  # share of the best rate that a smaller batch must reach
_MOST_PER_CORE = 4


@dataclasses.dataclass(frozen=True)
class Measured:
    workers: int
    cores: int
    room: int  # number of workers that fit into memory, the running ones included
    hosts: int  # policy hosts of this command; 0: the policy runs elsewhere, or in the workers
    chunk_s: float  # time that a worker computes per chunk: reset, simulation, images [s]
    wait_s: float  # time that a worker waits per chunk of actions [s]
    steps_per_chunk: float
    batches: Mapping[int, tuple[int, float]]  # by batch size: the number of batches and their total time [s]


@dataclasses.dataclass(frozen=True)
class Tuning:
    workers: int
    max_batch: int | None  # None: there is no policy host
    bottleneck: Bottleneck
    steps_per_s: float  # expected, of all workers together


def tune(measured: Measured, most_batch: int) -> Tuning:
    """Return the best settings. `most_batch`: largest batch that a policy host accepts."""
    m = measured
    size, wait_s, inference = None, m.wait_s, math.inf
    if m.hosts and m.batches:
        batch_s = batch_times(m.batches)
        size = _batch(m, batch_s, most_batch)
        wait_s, inference = batch_s(size), m.hosts * size / batch_s(size)
    room = min(m.room, _MOST_PER_CORE * m.cores)
    rates: dict[Bottleneck, float] = {
        "simulation": m.cores / m.chunk_s,
        "inference": inference,
        "memory": room / (m.chunk_s + wait_s),
    }
    bottleneck = min(rates, key=lambda name: rates[name])
    rate = rates[bottleneck]
    wanted = max(1, min(room, round(rate * (m.chunk_s + _SPARE * wait_s))))
    if abs(wanted - m.workers) <= _WORTH * m.workers:
        wanted = m.workers
    return Tuning(wanted, size, bottleneck, rate * m.steps_per_chunk)


def batch_times(batches: Mapping[int, tuple[int, float]]) -> Callable[[int], float]:
    """Return a function from the batch size to the time of a batch [s].

    It is a straight line fitted to the measurements, which neither falls nor goes below 0. If all batches had one size,
    a smaller batch is assumed to take as long, and a larger one proportionally longer.
    """
    points = [(size, count, total_s / count) for size, (count, total_s) in batches.items()]
    weight = sum(count for _, count, _ in points)
    mean_n = sum(count * n for n, count, _ in points) / weight
    mean_s = sum(count * s for _, count, s in points) / weight
    spread = sum(count * (n - mean_n) ** 2 for n, count, _ in points)
    if not spread:
        return lambda size: mean_s * max(1.0, size / mean_n)
    slope = sum(count * (n - mean_n) * (s - mean_s) for n, count, s in points) / spread
    slope = min(max(slope, 0.0), mean_s / mean_n)
    return lambda size: mean_s + slope * (size - mean_n)


def time_left(steps_left: Iterable[int], share: float, steps_per_s: float) -> float:
    """Return the remaining time [s].

    `steps_left`: for each remaining episode, its steps if it never succeeds. `share`: the average share of them that an
    episode takes.
    """
    return sum(steps_left) * share / steps_per_s


def _batch(m: Measured, batch_s: Callable[[int], float], most: int) -> int:
    """Return the smallest batch size with nearly the best rate, of those that the workers can fill."""
    sizes = range(1, max(1, min(most, math.ceil(_MOST_PER_CORE * m.cores / m.hosts))) + 1)
    best = max(n / batch_s(n) for n in sizes)
    return next(n for n in sizes if n / batch_s(n) >= _ENOUGH * best)
