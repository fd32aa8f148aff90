"""Represent one side of a comparison, as its page needs it."""

import dataclasses
from collections.abc import Mapping

from pirig.results.report import Report
from pirig.types import EpisodeSpec


@dataclasses.dataclass(frozen=True)
class Side:
    """A `Side` holds the runs of one policy; all mappings are by suite."""

    name: str  # A or B
    reports: Mapping[str, Report]  # with the addresses of videos relative to the page
    links: Mapping[str, str]  # addresses of the runs' own pages, where they exist
    replay: Mapping[str, str]  # command that makes videos, without its last arguments, TASK/TRIAL each

    @property
    def policy(self) -> str:
        return ", ".join(dict.fromkeys(report.policy or report.run for report in self.reports.values()))

    @property
    def runs(self) -> str:
        return ", ".join(report.run for report in self.reports.values())

    def video(self, spec: EpisodeSpec) -> str:
        """Return the address of an episode's video, which is empty if it has not been made."""
        return self.reports[spec.suite].videos.get(spec, "")

    def replays(self, *specs: EpisodeSpec) -> str:
        """Return the command that makes the videos of these episodes, which belong to one suite."""
        return " ".join([self.replay[specs[0].suite], *(f"{spec.task_id}/{spec.trial}" for spec in specs)])
