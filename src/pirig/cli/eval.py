"""Run LIBERO episodes with a policy, and report success rates with intervals (`pirig eval`)."""

import dataclasses
import logging
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from pirig.cli import console
from pirig.errors import ConfigError
from pirig.launch import evaluate, logs, packs, signals, simulator
from pirig.launch.dry_run import would_do
from pirig.launch.observers import trackers
from pirig.launch.observers.trackers import TrackerName
from pirig.launch.policy import HostedModel, source_of
from pirig.launch.settings import (
    DEFAULT_IN_HELP,
    Episodes,
    ModelChoice,
    Paths,
    PolicyChoice,
    StopRule,
    Workers,
    recorded,
)

_log = logging.getLogger(__name__)
_INCOMPLETE = 3  # exit code


@dataclasses.dataclass(frozen=True)
class EvalArgs:
    """Flags of `pirig eval`. Names and defaults are openpi's where its evaluator has them. `--args.seed` means
    `--seed`.
    """

    episodes: OmitArgPrefixes[Episodes] = dataclasses.field(default_factory=Episodes)
    policy: OmitArgPrefixes[PolicyChoice] = dataclasses.field(default_factory=PolicyChoice)
    model: OmitArgPrefixes[ModelChoice] = dataclasses.field(default_factory=ModelChoice)
    workers: OmitArgPrefixes[Workers] = dataclasses.field(default_factory=Workers)
    paths: OmitArgPrefixes[Paths] = dataclasses.field(default_factory=Paths)
    stop: OmitArgPrefixes[StopRule] = dataclasses.field(default_factory=StopRule)
    live: Annotated[int | None, DEFAULT_IN_HELP] = None
    """Serve a page that shows the run while it goes on, on this port; 0: any free port; default: no page."""
    live_host: str = "127.0.0.1"
    """Address that the live page listens on."""
    track: TrackerName = "none"
    """Log success rates, steps and timings as curves to this tracker."""
    dry_run: bool = False
    """Print what the command would run, download and write, and how long it may take, without doing it."""

    def __post_init__(self) -> None:
        if self.live is not None and not 0 <= self.live <= 65535:
            bound = "at most 65535" if self.live > 0 else "at least 0"
            raise ConfigError(f"--live is {self.live}; {bound} is needed")


def run(flags: EvalArgs) -> int:
    """Run an evaluation. Return 0 if it is complete, decided as declared, or a dry run; 3 if episodes are missing.

    Raises PirigError, and Interrupted on SIGINT or SIGTERM. Every finished episode is in the store then.
    """
    logs.log_to_stderr()
    signals.raise_interrupted()
    trackers.check(flags.track)
    specs = evaluate.planned(flags.episodes, flags.stop)
    simulation = simulator.settings()
    settings = flags.episodes, flags.policy, flags.model, flags.workers, flags.paths, flags.stop
    if flags.dry_run:
        print("\n".join(would_do(specs, simulation, *settings)))
        return 0
    if listing := _listing(flags):
        print(listing)
        return 0
    following = evaluate.Following(flags.live_host, flags.live, flags.track)
    with evaluate.opened(specs, simulation, *settings, following, recorded(flags)) as evaluation:
        try:
            evaluation.run()
        except KeyboardInterrupt as e:
            signal_ = signals.named(e)
            _log.warning("%s: stopped; what was finished is kept", signal_)
            _report(evaluation)
            raise signal_ from None
        for run in evaluation.runs:
            if run.early and not run.early.is_decided:
                _log.info("not decided; pirig compare %s %s says what the pairs show", flags.stop.against, run.name)
        is_complete = _report(evaluation)
        evaluation.end_live_page()
    return 0 if is_complete else _INCOMPLETE


def _listing(flags: EvalArgs) -> str:
    """Return the layers to quantize, if OPENPI_DUQUANT_DRYRUN asks for the list instead of a run."""
    source = source_of(flags.policy, flags.model, flags.paths.results / "runs")
    return packs.requested_listing(source.name, flags.model) if isinstance(source, HostedModel) else ""


def _report(evaluation: evaluate.Evaluation) -> bool:
    """Print each suite's table and verdict. Return whether every suite is complete."""
    outcomes = evaluation.report()
    for outcome in outcomes:
        console.print_table(outcome.suite, outcome.by_task, outcome.task_names)
        _log.info("results: %s", outcome.csv)
        _log.info("report: %s", outcome.page)
        suite, total = outcome.suite, outcome.total
        last = console.stopped(suite, total, outcome.decided) if outcome.decided else console.verdict(suite, total)
        print(last, flush=True)
    return all(outcome.is_complete for outcome in outcomes)
