"""Read a finished run for the commands that run its episodes again: episodes, rules, and a matching simulator."""

import logging
from collections.abc import Sequence
from typing import Any

from pirig import envvars
from pirig.errors import ConfigError
from pirig.evaluation.worker import wants_video
from pirig.launch import simulator
from pirig.results.store import RunStore
from pirig.sim import boot
from pirig.types import EpisodeResult, Rules

_log = logging.getLogger(__name__)


def choose_episodes(store: RunStore, wanted: Sequence[str]) -> list[EpisodeResult]:
    """Return the results that `wanted` names: TASK/TRIAL, an episode's key, all, or failures. Raises ConfigError for
    an episode that the run does not have.
    """
    scored = {result.spec: result for result in store.results() if result.status != "error"}
    chosen: dict[Any, EpisodeResult] = {}
    for word in wanted:
        if word in ("all", "failures"):
            found = [result for result in scored.values() if wants_video(result, word)]
        else:
            found = [r for s, r in scored.items() if word in (s.key, f"{s.task_id}/{s.trial}")]
        if not found and word not in ("all", "failures"):
            raise ConfigError(
                f"run {store.directory.name} has no scored episode {word}; expected TASK/TRIAL (as 3/17), a key (as "
                "libero_goal/task03/trial017/seed7), failures or all"
            )
        chosen |= {result.spec: result for result in found}
    return [chosen[spec] for spec in sorted(chosen)]


def rules_of(store: RunStore) -> Rules:
    """Return the rules in the run's configuration."""
    from pirig.sim import suites

    found = store.manifest["configuration"]
    return suites.rules(found["suite"], replan_steps=found["replan_steps"], settle_steps=found["settle_steps"])


def simulator_of(store: RunStore) -> boot.Settings:
    """Return a simulator with the run's GL back end if this machine has it. Images depend on the back end, states do
    not.
    """
    recorded = store.manifest["configuration"]["gl"]
    settings = simulator.settings(envvars.get("MUJOCO_GL") or recorded)
    if settings.gl != recorded:
        _log.warning("the run was rendered with %s, this is %s: images may differ", recorded, settings.gl)
    return settings
