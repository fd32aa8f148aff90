"""Batch the requests of many callers for one policy: when the policy is free, the waiting requests form a batch.

Law 1: A caller gets the answer that the policy would give to its request alone. A request that fails does not affect
other requests.
Law 2: A request that is cancelled before it is computed is dropped, and its place in the queue is free at once.
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
"""The policy's answer, and the inference time of the whole batch [ms]."""
BatchTimes = tuple[int, float]
"""The number of batches of one size, and their total inference time [s]."""
_Future = concurrent.futures.Future[Answer]
_Request = tuple[Observation, _Future]


class Batcher:
    """Run a policy in a thread of its own. No other thread calls the policy."""

    def __init__(self, policy: Policy, *, max_queue: int | None = None):
        """Start the thread. `max_queue`: largest number of waiting requests; None: no limit."""
        self.metadata: Metadata = policy.metadata
        self._policy, self._max_batch, self._max_queue = policy, policy.max_batch, max_queue
        self._most = self._max_batch
        self._times: dict[int, BatchTimes] = {}
        self._waiting: dict[_Future, Observation] = {}  # in order of arrival
        self._changed, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="inference")
        self._thread.start()

    def submit(self, obs: Observation) -> _Future:
        """Queue a request from any thread, and return a future of its answer.

        The future raises what the policy raises, StartError after `close`, and BusyError if the queue is full.
        """
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
        """Limit later batches to `most` observations, or to the policy's own maximum if that is lower."""
        self._max_batch = max(1, min(most, self._most))

    def times(self) -> dict[int, BatchTimes]:
        """Return the number and the total time of the answered batches, by batch size."""
        return dict(self._times)

    def close(self, *, wait: bool = True) -> None:
        """Stop the thread. Queued requests raise StartError.

        The batch in progress finishes. This waits for its answers only if `wait`.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        if wait:
            self._thread.join()

    def _forget(self, future: _Future) -> None:
        """Remove a cancelled request from the queue at once, and free its observation (law 2)."""
        with self._changed:
            self._waiting.pop(future, None)

    def _run(self) -> None:
        while batch := self._take():
            self._answer(batch)
        for future in list(self._waiting):
            if future.set_running_or_notify_cancel():
                future.set_exception(_closed())

    def _take(self) -> list[_Request]:
        """Wait for a request, and return it in a batch with other waiting ones. The batch is empty after `close`."""
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
                # An asyncio future rejects StopIteration, so its caller would wait forever.
                problem = PolicyError("the policy raised StopIteration") if isinstance(e, StopIteration) else e
                batch[0][1].set_exception(problem)
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
