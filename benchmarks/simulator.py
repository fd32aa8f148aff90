"""What an episode costs in CPU time: the reference's loop against ours, on the same actions.

    python benchmarks/simulator.py
    python benchmarks/simulator.py --tasks libero_spatial:0 libero_10:2 --steps 40

The reference is a plain LIBERO loop as openpi's evaluator runs it: both cameras rendered and resized at each step. Each
loop lives in a process of its own; they take turns every few steps, so that their ratios hold on a busy machine too.
Times are CPU times of this machine, of episodes that run to the suite's limit; of a video, those of making its frames:
the encoder, a process of its own, is the same for both. Prints a table and writes JSON.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.metadata
import json
import multiprocessing
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from pirig import envvars
from pirig.evaluation.replay import frames
from pirig.launch import simulator
from pirig.machine import resources
from pirig.sim import boot, suites
from pirig.sim.libero import CAMERAS, LiberoEnvironment
from pirig.sim.video import write_mp4
from pirig.transforms.images import resize_with_pad, upright
from pirig.types import STANDARD_OBSERVATIONS, EpisodeResult, EpisodeSpec

_REPLAN = 5  # steps between looks; openpi's default
_SLICE = 20  # steps before it is the other's turn
_RESETS = 10
_LOOKS = 20


@dataclasses.dataclass(frozen=True)
class Args:
    tasks: tuple[str, ...] = ("libero_spatial:0", "libero_object:0", "libero_goal:3", "libero_10:2", "libero_90:10")
    """SUITE:TASK"""
    steps: int = 0
    """of an episode; default: the suite's limit"""
    output: pathlib.Path | None = None
    """JSON file; default: benchmarks/results/simulator-GL-RENDERER.json"""


def main() -> None:
    flags = tyro.cli(Args, description=__doc__)
    envvars.export(boot.PROCESS_VARIABLES, override=False)
    settings = simulator.settings()
    rows = []
    for name in flags.tasks:
        suite, task_id = name.split(":")
        rows.append(compare(settings, EpisodeSpec(suite, int(task_id), 0, 7), flags.steps))
        show(rows[-1:])
    if len(rows) > 1:
        show(rows)
    save(flags, settings.gl, rows)


def compare(settings: boot.Settings, spec: EpisodeSpec, steps: int) -> dict[str, Any]:
    """One task. Seconds, but for what is named otherwise."""
    rules = suites.rules(spec.suite)
    actions = [np.array(rules.settle_action)] * rules.settle_steps
    actions += list(np.random.default_rng(3).uniform(-1, 1, (steps or rules.max_policy_steps, 7)))
    with contextlib.ExitStack() as stack:
        loops = {name: stack.enter_context(Process(name, settings, spec)) for name in _LOOPS}
        built = {name: loop.call("build") for name, loop in loops.items()}
        episode = dict.fromkeys(loops, 0.0)
        for first in range(0, len(actions), _SLICE):
            for name, loop in loops.items():
                episode[name] += loop.call("advance", actions[first : first + _SLICE])
        assert len({loop.call("state") for loop in loops.values()}) == 1, "another loop, another state"
        video = {name: loops[name].call("video", actions[rules.settle_steps :]) for name in ("reference", "ours")}
        memory = {name: loops[name].call("memory") for name in ("reference", "ours")}
        resets = {name: loops[name].call("resets") for name in ("reference", "ours")}
        split = loops["ours"].call("split", actions[:150])
        renderer = loops["ours"].call("renderer")
    return {
        "task": f"{spec.suite}:{spec.task_id}",
        "steps": len(actions),
        "renderer": renderer,
        "build_s": built,
        "reset_s": resets,
        "episode_s": episode | {f"{name}, video": episode[name] + more for name, more in video.items()},
        "memory_mib": memory,
        "step_ms": split,
        "ratios": {
            "no images": episode["reference"] / episode["ours, blind"],
            "images": episode["reference"] / episode["ours"],
            "video": (episode["reference"] + video["reference"]) / (episode["ours"] + video["ours"]),
            "no cameras on either side": episode["reference, no cameras"] / episode["ours, blind"],
            "without rendering : floor": (split["physics"] + split["control"] + split["rest"]) / split["floor"],
            "mjr_render : our rendering": split["mjr_render"] / split["rendering"],
        },
    }


class Process:
    """A loop in a process of its own."""

    def __init__(self, name: str, settings: boot.Settings, spec: EpisodeSpec):
        spawn = multiprocessing.get_context("spawn")
        self._pool = concurrent.futures.ProcessPoolExecutor(1, spawn, _start, (name, settings, spec))

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.call("close")
        self._pool.shutdown()

    def call(self, method: str, *arguments: Any) -> Any:
        return self._pool.submit(_call, method, *arguments).result()


_loop: Any = None  # of this process


def _start(name: str, settings: boot.Settings, spec: EpisodeSpec) -> None:
    global _loop
    _loop = _LOOPS[name](settings, spec)


def _call(method: str, *arguments: Any) -> Any:
    return getattr(_loop, method)(*arguments)


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def memory() -> dict[str, int]:
    """MiB resident now, and at the most so far."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return {"resident": int(fields["VmRSS"].split()[0]) >> 10, "peak": int(fields["VmHWM"].split()[0]) >> 10}


class Reference:
    """A plain LIBERO loop."""

    def __init__(self, settings: boot.Settings, spec: EpisodeSpec, *, cameras: bool = True):
        self._libero, self._spec, self._cameras = boot.boot(settings), spec, cameras
        self._env: Any = None
        self._images: list[np.ndarray] = []

    def build(self) -> float:
        """And the first reset; compiled code is loaded before."""
        problem = str(suites.task(self._spec.suite, self._spec.task_id).problem_file)
        size = {"camera_heights": 256, "camera_widths": 256} if self._cameras else {"use_camera_obs": False}

        def work() -> None:
            self._env = self._libero.make(bddl_file_name=problem, **size)
            self._env.seed(self._spec.seed)
            self._reset()

        seconds = timed(work)
        self._env.step([0.0] * 7)  # compiles
        self._env.seed(self._spec.seed)
        self._reset()
        return seconds

    def advance(self, actions: list[np.ndarray]) -> float:
        def work() -> None:
            for action in actions:
                obs, *_ = self._env.step(action.tolist())
                if self._cameras:
                    seen = [resize_with_pad(upright(obs[f"{name}_image"]), 224, 224) for name in CAMERAS.values()]
                    self._images.append(seen[0])

        return timed(work)

    def state(self) -> bytes:
        return self._env.get_sim_state().tobytes()

    def video(self, actions: list[np.ndarray]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return timed(lambda: write_mp4(pathlib.Path(folder) / "a.mp4", self._images[-len(actions) :]))

    def memory(self) -> dict[str, int]:
        return memory()

    def resets(self) -> float:
        return statistics.median(timed(self._reset) for _ in range(3))

    def close(self) -> None:
        self._env.close()

    def _reset(self) -> None:
        self._env.env.reset()
        self._env.set_init_state(suites.initial_state(self._spec))


class Ours:
    """The environment that a worker has."""

    def __init__(self, settings: boot.Settings, spec: EpisodeSpec, *, looks: bool = True):
        self._env, self._spec, self._looks = LiberoEnvironment(settings), spec, looks
        self._count = 0

    def build(self) -> float:
        seconds = timed(lambda: self._env.reset(self._spec))
        self._env.step(np.zeros(7), STANDARD_OBSERVATIONS)  # compiles
        self._env.reset(self._spec)
        return seconds

    def advance(self, actions: list[np.ndarray]) -> float:
        def work() -> None:
            for action in actions:
                self._count += 1
                look = STANDARD_OBSERVATIONS if self._looks and self._count % _REPLAN == 0 else ()
                self._env.step(action, look)

        return timed(work)

    def state(self) -> bytes:
        return self._env.state().tobytes()

    def video(self, actions: list[np.ndarray]) -> float:
        """A replay of the episode, which must end where the episode did."""
        rules, digest = suites.rules(self._spec.suite), self._env.state_hash()
        result = EpisodeResult(
            self._spec, "failure", len(actions), rules.total_steps, actions=np.array(actions), state_hash=digest
        )
        with tempfile.TemporaryDirectory() as folder:
            return timed(lambda: write_mp4(pathlib.Path(folder) / "a.mp4", frames(result, self._env, rules)))

    def memory(self) -> dict[str, int]:
        return memory()

    def resets(self) -> float:
        trials = [dataclasses.replace(self._spec, trial=trial) for trial in range(_RESETS)]
        return statistics.median(timed(lambda spec=spec: self._env.reset(spec)) for spec in trials)

    def renderer(self) -> str:
        return self._env.describe()["gl_renderer"]

    def split(self, actions: list[np.ndarray]) -> dict[str, float]:
        """Milliseconds of a step, by part; rendering is of both cameras.

        floor: the solves of 25 substeps that no exact loop can leave out, alone; mj_step: 25 of them.
        """
        import mujoco as compiled

        from pirig.sim import control

        mujoco: Any = compiled
        scene: Any = self._env._scene
        model, data, sim = scene._model, scene._data, scene.built.problem.sim
        spent = {"physics": 0.0, "substep": 0.0}
        parts: dict[str, list[float]] = {name: [] for name in ("step", "floor", "mj_step", "rendering", "mjr_render")}

        def watched(function: Callable[..., Any], name: str) -> Callable[..., Any]:
            def run(*arguments: Any) -> Any:
                start = time.perf_counter()
                result = function(*arguments)
                spent[name] += time.perf_counter() - start
                return result

            return run

        def floor() -> None:
            for _ in range(25):
                mujoco.mj_forward(model, data)
                mujoco.mj_forwardSkip(model, data, mujoco.mjtStage.mjSTAGE_VEL, 1)
                mujoco.mj_step2(model, data)

        def plain() -> None:
            for _ in range(25):
                mujoco.mj_step(model, data)

        def mujocos() -> None:
            for camera in CAMERAS.values():
                sim.render(camera_name=camera, width=256, height=256)

        self._env.reset(self._spec)
        engine, substep = control.mujoco, scene._control.substep
        start = 0.0
        for i, action in enumerate(actions):
            start = time.perf_counter()
            parts["step"].append(timed(lambda action=action: self._env.step(action)))
            before = self._env.state()
            for name, work in (("floor", floor), ("mj_step", plain)):
                parts[name].append(timed(work))
                scene.built.wrapper.set_state(before)
                mujoco.mj_forward(model, data)
            if i % _REPLAN == 0 and len(parts["rendering"]) < _LOOKS:
                both = [timed(lambda camera=camera: scene._renderer.image(camera)) for camera in CAMERAS.values()]
                parts["rendering"].append(sum(both))
                parts["mjr_render"].append(timed(mujocos))
        functions = {name: getattr(mujoco, name) for name in ("mj_jacSite", "mj_fullM")}
        functions |= {n: watched(getattr(mujoco, n), "physics") for n in ("mj_forward", "mj_forwardSkip", "mj_step2")}
        control.mujoco, scene._control.substep = SimpleNamespace(**functions), watched(substep, "substep")
        self._env.reset(self._spec)
        start = time.perf_counter()
        for action in actions:
            self._env.step(action)
        whole = time.perf_counter() - start
        control.mujoco, scene._control.substep = engine, substep
        found = {name: 1e3 * statistics.mean(seconds) for name, seconds in parts.items()}
        shares = {
            "physics": spent["physics"] / whole,
            "control": (spent["substep"] - spent["physics"]) / whole,
            "rest": 1 - spent["substep"] / whole,
        }
        return found | {name: share * found["step"] for name, share in shares.items()}

    def close(self) -> None:
        self._env.close()


_LOOPS: dict[str, Callable[..., Any]] = {
    "reference": Reference,
    "reference, no cameras": functools.partial(Reference, cameras=False),
    "ours": Ours,
    "ours, blind": functools.partial(Ours, looks=False),
}


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"CPU seconds of an episode, {rows[0]['renderer']}", title_justify="left")
    columns = ("task", "steps", "reference", "no images", "images", "with video", "reset ms", "MiB", "step : floor")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        seconds, ratios = row["episode_s"], row["ratios"]
        table.add_row(
            row["task"],
            str(row["steps"]),
            f"{seconds['reference']:.1f}",
            f"{seconds['ours, blind']:.2f} ({ratios['no images']:.0f}x)",
            f"{seconds['ours']:.1f} ({ratios['images']:.1f}x)",
            f"{seconds['ours, video']:.1f} ({ratios['video']:.1f}x)",
            f"{1e3 * row['reset_s']['reference']:.0f} : {1e3 * row['reset_s']['ours']:.0f}",
            f"{row['memory_mib']['reference']['resident']} : {row['memory_mib']['ours']['resident']}",
            f"{ratios['without rendering : floor']:.2f}",
        )
    Console(width=130).print(table)
    for row in rows:
        print(row["task"], "ms a step:", ", ".join(f"{name} {value:.1f}" for name, value in row["step_ms"].items()))


def save(flags: Args, backend: str, rows: list[dict[str, Any]]) -> None:
    renderer = rows[0]["renderer"].split()[0].lower()
    file = flags.output or pathlib.Path(__file__).parent / f"results/simulator-{backend}-{renderer}.json"
    document = {
        "gl": backend,
        "machine": resources.describe(),
        "versions": {name: importlib.metadata.version(name) for name in ("mujoco", "robosuite", "numpy", "numba")},
        "replan_steps": _REPLAN,
        "tasks": rows,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written to {file}")


if __name__ == "__main__":
    main()
