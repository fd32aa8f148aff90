"""The stores of several suites as one: each result goes to its suite's run, as if that were the only one."""

import itertools
from collections.abc import Iterator, Mapping

from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec


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

    def scored(self) -> dict[EpisodeSpec, EpisodeResult]:
        """Return the results that need not run again, successes and failures, by episode."""
        return {spec: result for store in self._stores.values() for spec, result in store.scored().items()}
