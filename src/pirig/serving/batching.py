"""Many callers, one policy: whatever is waiting when the policy is free becomes one batch.

Law 1: a caller gets what the policy alone would have given it; a request that fails costs no other request anything.
Law 2: a request that was given up before its turn is not computed.
"""

import concurrent.futures
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from pirig.errors import PolicyError, StartError
from pirig.interfaces import Policy
from pirig.types import Metadata, Observation

Answer = tuple[dict[str, Any], float]
"""What the policy answered, and how long it took for the whole batch [ms]."""
BatchTimes = tuple[int, float]
"""How many batches of one size there were, and how long they took together [s]."""
_Request = tuple[Observation, "concurrent.futures.Future[Answer]"]


class Batcher:
    """Runs a policy in a thread of its own, which is the only one that calls it."""

    def __init__(self, policy: Policy):
        """A policy that gains from batches has `max_batch`, how many observations it takes at once."""
        self.metadata: Metadata = policy.metadata
        self._policy, self._max_batch = policy, getattr(policy, "max_batch", 1)
        self._most = self._max_batch
        self._times: dict[int, BatchTimes] = {}
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name="inference")
        self._thread.start()

    def submit(self, obs: Observation) -> "concurrent.futures.Future[Answer]":
        """From any thread. The future raises what the policy raises, and StartError after `close`."""
        future: concurrent.futures.Future[Answer] = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                future.set_exception(_closed())
            else:
                self._waiting.put((obs, future))
        return future

    def limit(self, most: int) -> None:
        """Takes no more than `most` observations at once from now on, nor more than the policy does."""
        self._max_batch = max(1, min(most, self._most))

    def times(self) -> dict[int, BatchTimes]:
        """By the size of a batch, of those that were answered."""
        return dict(self._times)

    def close(self, *, wait: bool = True) -> None:
        """Requests that wait are given up; one that is being computed ends, unheard unless `wait`."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._waiting.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._answer(batch)
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._waiting.get_nowait()
                if request is not None and request[1].set_running_or_notify_cancel():
                    request[1].set_exception(_closed())

    def _take(self) -> list[_Request]:
        """Waits for a request, then takes what else is there. Empty when closed."""
        batch: list[_Request] = []
        while len(batch) < self._max_batch:
            try:
                request = self._waiting.get(block=not batch)
            except queue.Empty:
                break
            if request is not None and request[1].set_running_or_notify_cancel():  # Law 2
                batch.append(request)
            if request is None or self._closed:
                for _, future in batch:
                    future.set_exception(_closed())
                return []
        return batch

    def _answer(self, batch: Sequence[_Request]) -> None:
        start = time.perf_counter()
        try:
            answers = self._policy.infer_batch([obs for obs, _ in batch])
            if len(answers) != len(batch):
                raise PolicyError(f"the policy answered {len(answers)} of {len(batch)} observations")
        except Exception as e:
            if len(batch) == 1:
                problem = PolicyError("the policy raised StopIteration") if isinstance(e, StopIteration) else e
                batch[0][1].set_exception(problem)  # whoever awaits a StopIteration would wait for ever
            else:
                for one in batch:  # Law 1
                    self._answer([one])
            return
        took_s = time.perf_counter() - start
        count, total_s = self._times.get(len(batch), (0, 0.0))
        self._times[len(batch)] = count + 1, total_s + took_s
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result((answer, 1e3 * took_s))


def _closed() -> StartError:
    return StartError("the policy has been closed")
