"""The coordinator's loop: what is left to run goes to the executor, what comes back goes to the store first."""

import logging
from collections.abc import Callable, Sequence

from pirig.errors import StartError
from pirig.evaluation.plan import remaining
from pirig.interfaces import Executor, WorkerFactory
from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec

_ERRORS_IN_A_ROW = 10
_log = logging.getLogger(__name__)

Observer = Callable[[EpisodeResult], None]


def run(
    specs: Sequence[EpisodeSpec],
    store: RunStore,
    executor: Executor,
    make_worker: WorkerFactory,
    observer: Observer = lambda result: None,
) -> None:
    """Runs what the store has not finished, and what ended in an error once more.

    Raises StartError when workers cannot start, or when nothing but errors comes back. Every result that came is in
    the store then.
    """
    todo = remaining(specs, store.finished())
    if len(todo) < len(specs):
        _log.info("%d of %d episodes are there already; going on with the rest", len(specs) - len(todo), len(specs))
    in_a_row = 0
    for again in (False, True):
        if again and todo:
            _log.warning("%d episodes ended in an error; running them once more", len(todo))
        for result in executor.run(todo, make_worker):
            store.append(result)
            observer(result)
            in_a_row = in_a_row + 1 if result.status == "error" else 0
            if in_a_row == _ERRORS_IN_A_ROW:
                raise StartError(f"{in_a_row} errors in a row, so the run stops; the last one:\n{result.error}")
        todo = remaining(specs, store.finished())
