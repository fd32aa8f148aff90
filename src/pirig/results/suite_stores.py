"""The stores of several suites as one: each result goes to its suite's run, as if that were the only one."""

import itertools
from collections.abc import Iterator, Mapping

from pirig.results.store import RunStore
from pirig.types import EpisodeResult


class SuiteStores:
    """Implements interfaces.ResultStore."""

    def __init__(self, stores: Mapping[str, RunStore]):
        """`stores`: by suite."""
        self._stores = stores

    def append(self, result: EpisodeResult) -> None:
        """On disk when this returns. Raises KeyError for a suite that has no store here."""
        self._stores[result.spec.suite].append(result)

    def results(self) -> Iterator[EpisodeResult]:
        return itertools.chain.from_iterable(store.results() for store in self._stores.values())
