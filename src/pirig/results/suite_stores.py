"""Combine the stores of several suites into one store, which passes each result to its suite's run."""

import itertools
from collections.abc import Iterator, Mapping

from pirig.results.store import RunStore
from pirig.types import EpisodeResult, EpisodeSpec


class SuiteStores:
    """A `SuiteStores` object implements `interfaces.ResultStore` for several suites."""

    def __init__(self, stores: Mapping[str, RunStore]):
        """Combine `stores`, which are given by suite."""
        self._stores = stores

    def append(self, result: EpisodeResult) -> None:
        """Append a result, which is on disk when this returns.

        Raises KeyError for a suite that has no store here.
        """
        self._stores[result.spec.suite].append(result)

    def results(self) -> Iterator[EpisodeResult]:
        return itertools.chain.from_iterable(store.results() for store in self._stores.values())

    def scored(self) -> dict[EpisodeSpec, EpisodeResult]:
        """Return the successes and failures by episode; these episodes need not run again."""
        return {spec: result for store in self._stores.values() for spec, result in store.scored().items()}
