"""How many workers, and how many observations at once, from what a minute has shown. Pure: a table in, an answer out.

A worker computes for `chunk_s`, then waits for a chunk of actions. Three rates bound what can be had [chunks/s]:

    cores / chunk_s                          simulation: every core is busy with a worker
    hosts * n / batch_s(n)                   inference: every policy host computes batches of n, one after another
    room / (chunk_s + batch_s(n))            memory: there is no room for more workers, and each waits for its answers

The least of them is the bottleneck, and as many workers are wanted as keep it busy. Nothing here changes a result.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

Bottleneck = Literal["simulation", "inference", "memory"]
_SPARE = 1.25  # workers wait longer than a batch takes: for the one before, too
_WORTH = 0.1  # relative change of the number of workers
_ENOUGH = 0.95  # of the best rate, for a smaller batch
_MOST_PER_CORE = 4


@dataclasses.dataclass(frozen=True)
class Measured:
    workers: int
    cores: int
    room: int  # workers that there is memory for, these included
    hosts: int  # policy hosts of this command; 0: the policy is elsewhere, or in the workers
    chunk_s: float  # a worker's own time for a chunk: reset, simulation, images [s]
    wait_s: float  # a worker's wait for a chunk of actions [s]
    steps_per_chunk: float
    batches: Mapping[int, tuple[int, float]]  # by size: how many, and how long together [s]


@dataclasses.dataclass(frozen=True)
class Tuning:
    workers: int
    max_batch: int | None  # None: there is no policy host to tell
    bottleneck: Bottleneck
    steps_per_s: float  # expected, of all workers together


def tune(measured: Measured, most_batch: int) -> Tuning:
    """`most_batch`: observations that a host takes at once at most."""
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
    """How long a batch of n takes [s]: a straight line through what was measured, not falling, not below 0.

    Where all batches had one size, smaller ones are taken to cost the same, and larger ones to gain nothing.
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
    """[s] `steps_left`: of each episode that is left, should it never succeed; `share` is taken on the average."""
    return sum(steps_left) * share / steps_per_s


def _batch(m: Measured, batch_s: Callable[[int], float], most: int) -> int:
    """The smallest that is nearly as good as any, of those that workers can fill."""
    sizes = range(1, max(1, min(most, math.ceil(_MOST_PER_CORE * m.cores / m.hosts))) + 1)
    best = max(n / batch_s(n) for n in sizes)
    return next(n for n in sizes if n / batch_s(n) >= _ENOUGH * best)
