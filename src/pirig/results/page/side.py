"""One side of a comparison, as its page needs it."""

import dataclasses
from collections.abc import Mapping

from pirig.results.report import Report
from pirig.types import EpisodeSpec


@dataclasses.dataclass(frozen=True)
class Side:
    """Everything by suite."""

    name: str  # A or B
    reports: Mapping[str, Report]  # with videos linked from the page
    links: Mapping[str, str]  # addresses of the runs' own pages, as far as there are any
    replay: Mapping[str, str]  # the command that makes videos, but for its last words, TASK/TRIAL each

    @property
    def policy(self) -> str:
        return ", ".join(dict.fromkeys(report.policy or report.run for report in self.reports.values()))

    @property
    def runs(self) -> str:
        return ", ".join(report.run for report in self.reports.values())

    def video(self, spec: EpisodeSpec) -> str:
        """Its address; empty where it has not been made."""
        return self.reports[spec.suite].videos.get(spec, "")

    def replays(self, *specs: EpisodeSpec) -> str:
        """The command that makes the videos of these episodes of one suite."""
        return " ".join([self.replay[specs[0].suite], *(f"{spec.task_id}/{spec.trial}" for spec in specs)])
