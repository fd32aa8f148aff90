"""Many callers, one policy: whatever is waiting when the policy is free becomes one batch.

Law 1: a caller gets what the policy alone would have given it; a request that fails costs no other request anything.
Law 2: a request that was given up before its turn is not computed, and takes no room.
"""

import concurrent.futures
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from pirig.errors import BusyError, PolicyError, StartError
from pirig.interfaces import Policy
from pirig.types import Metadata, Observation

_log = logging.getLogger(__name__)

Answer = tuple[dict[str, Any], float]
"""What the policy answered, and how long it took for the whole batch [ms]."""
BatchTimes = tuple[int, float]
"""How many batches of one size there were, and how long they took together [s]."""
_Future = concurrent.futures.Future[Answer]
_Request = tuple[Observation, _Future]


class Batcher:
    """Runs a policy in a thread of its own, which is the only one that calls it."""

    def __init__(self, policy: Policy, *, max_queue: int | None = None):
        """`max_queue`: most requests that wait; None: any number."""
        self.metadata: Metadata = policy.metadata
        self._policy, self._max_batch, self._max_queue = policy, policy.max_batch, max_queue
        self._most = self._max_batch
        self._times: dict[int, BatchTimes] = {}
        self._waiting: dict[_Future, Observation] = {}  # in order of arrival
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="inference")
        self._thread.start()

    def submit(self, obs: Observation) -> _Future:
        """From any thread. The future raises what the policy raises, StartError after `close`, and BusyError."""
        future: _Future = concurrent.futures.Future()
        with self._changed:
            if self._closed:
                future.set_exception(_closed())
            elif self._max_queue is not None and len(self._waiting) >= self._max_queue:
                future.set_exception(
                    BusyError(
                        f"{len(self._waiting)} requests wait, and no more may (--max-queue {self._max_queue} of the "
                        "server); ask again later"
                    )
                )
            else:
                self._waiting[future] = obs
                self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    def limit(self, most: int) -> None:
        """Takes no more than `most` observations at once from now on, nor more than the policy does."""
        self._max_batch = max(1, min(most, self._most))

    def times(self) -> dict[int, BatchTimes]:
        """By the size of a batch, of those that were answered."""
        return dict(self._times)

    def close(self, *, wait: bool = True) -> None:
        """Requests that wait are given up; one that is being computed ends, unheard unless `wait`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if wait:
            self._thread.join()

    def _forget(self, future: _Future) -> None:
        """Law 2, at once: a request that was given up keeps neither its place nor its observation."""
        with self._changed:
            self._waiting.pop(future, None)

    def _run(self) -> None:
        while batch := self._take():
            self._answer(batch)
        for future in list(self._waiting):
            if future.set_running_or_notify_cancel():
                future.set_exception(_closed())

    def _take(self) -> list[_Request]:
        """Waits for a request, then takes what else is there. Empty when closed."""
        batch: list[_Request] = []
        with self._changed:
            while not batch:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return []
                while self._waiting and len(batch) < self._max_batch:
                    future = next(iter(self._waiting))
                    obs = self._waiting.pop(future)
                    if future.set_running_or_notify_cancel():
                        batch.append((obs, future))
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
                _log.warning(
                    "the policy failed on %d observations at once; each is asked alone", len(batch), exc_info=True
                )
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
