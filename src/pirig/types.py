"""Values that travel between the parts: frozen, plain, free of behaviour.

Shapes are `dtype[axes]` with H height, W width, T actions in a chunk, A action size (7 in LIBERO).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

Observation: TypeAlias = dict[str, Any]
"""What a policy sees and, unchanged, what travels the wire.

    observation/image        uint8[224, 224, 3]  agentview camera, upright RGB
    observation/wrist_image  uint8[224, 224, 3]  wrist camera, upright RGB
    observation/state        float64[8]          position [m], axis-angle [rad], two finger joints [m]
    prompt                   str                 the task in words
    noise_key                str                 optional; see `seeding.noise_key`
    carry                    any                 optional; what the policy returned as `carry` one call before
    episode                  list                optional; [suite, task_id, trial, seed, actions executed so far]
    privileged               dict                optional; poses, boxes and goal; see `sim.privileged`

A policy that needs other or fewer keys lists them in `metadata["observations"]` (`prompt` and `noise_key` always come).
`episode` and `privileged` come only where they are listed there; built-in baselines list them.
"""

STANDARD_OBSERVATIONS = ("observation/image", "observation/wrist_image", "observation/state")
"""The keys made for a policy whose metadata lists none: what every openpi policy for LIBERO reads."""

Status = Literal["success", "failure", "error"]
"""`failure` is the policy's; `error` is ours, is run again, and never enters a success rate."""

Seeding = Literal["per-episode", "openpi"]
"""How fixtures get their poses; see `sim.seeding`."""

Simulator = Literal["fast", "reference"]
"""Who steps LIBERO; the bits are the same. See `sim.libero`."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class EpisodeSpec:
    """What decides an episode before it starts, given a run's rules. Equal specs give equal episodes."""

    suite: str  # e.g. "libero_spatial"
    task_id: int  # index in the suite
    trial: int  # index of the initial state
    seed: int = 7  # base seed of the run

    @property
    def key(self) -> str:
        """Stable name, e.g. `libero_goal/task03/trial017/seed7`: for noise, for pairing runs."""
        return f"{self.suite}/task{self.task_id:02d}/trial{self.trial:03d}/seed{self.seed}"


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """How an episode of a suite is run; the same for all its tasks."""

    max_policy_steps: int  # the settle steps come on top
    settle_action: tuple[float, ...]  # float64[A], applied before the policy is asked
    settle_steps: int = 10
    replan_steps: int = 5  # actions executed of each chunk
    action_size: int = 7  # A

    @property
    def total_steps(self) -> int:
        """Steps of an episode that never succeeds."""
        return self.settle_steps + self.max_policy_steps


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One tick of an environment. `observation` holds the keys that were asked for, and `prompt`."""

    observation: Observation
    success: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Where an episode's wall time went [s]."""

    reset_s: float = 0.0
    simulation_s: float = 0.0  # settle steps and policy steps, with the rendering they asked for
    rendering_s: float = 0.0  # of reset_s and simulation_s
    inference_s: float = 0.0
    chunks: int = 0  # times the policy was asked


@dataclasses.dataclass(frozen=True, eq=False)
class EpisodeResult:
    """Everything worth keeping about an episode after it ended."""

    spec: EpisodeSpec
    status: Status
    steps: int  # steps taken, settle steps included
    max_steps: int  # `Rules.total_steps`
    wall_s: float = 0.0
    timings: Timings = Timings()
    actions: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))  # float64[policy steps, A]
    state_hash: str = ""  # of the simulator's final state; `Environment.state_hash`
    trail: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint32))
    """uint32[steps]: the beginning of the state's hash after each step, settle steps included; says where runs part"""
    error: str = ""  # traceback; only with status "error"

    def outcome(self) -> tuple[Status, int, str, bytes]:
        """What must be equal whenever and wherever the spec runs: status, steps, final state, actions."""
        return self.status, self.steps, self.state_hash, self.actions.tobytes()


@dataclasses.dataclass(frozen=True, slots=True)
class Video:
    """The outcome of making one episode's video."""

    spec: EpisodeSpec
    name: str  # of the file
    wall_s: float = 0.0
    error: str = ""  # why there is none
    data: bytes = b""  # the file itself, from a worker whose disk is not the coordinator's


Job: TypeAlias = EpisodeSpec | EpisodeResult
"""What a worker is given: an episode to run, or a result to make a video of."""


Metadata: TypeAlias = Mapping[str, Any]
"""What a policy says of itself: `name`, and optionally `observations` (list of keys), `replan_steps`.

A model also says what decides its bits: recipe, backend, dtype, device, checkpoint (fingerprint), trimming, strict.
"""
