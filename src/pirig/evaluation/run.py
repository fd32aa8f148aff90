"""The coordinator's loop: what is left to run goes to the executor, what comes back goes to the store first."""

import logging
from collections.abc import Callable, Sequence

from pirig.evaluation.plan import remaining
from pirig.interfaces import Executor, WorkerFactory
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec

_log = logging.getLogger(__name__)

Observer = Callable[[EpisodeResult], None]


def run(
    specs: Sequence[EpisodeSpec],
    store: RunStore,
    executor: Executor,
    make_worker: WorkerFactory,
    observer: Observer = lambda result: None,
) -> None:
    """Runs what the store has not finished. Each result is on disk before the next episode of its worker starts.

    Raises StartError when workers cannot start; what was finished by then is in the store.
    """
    todo = remaining(specs, store.finished())
    if len(todo) < len(specs):
        _log.info("%d of %d episodes are there already; going on with the rest", len(specs) - len(todo), len(specs))
    for result in executor.run(todo, make_worker):
        store.append(result)
        observer(result)
