"""The same episode twice: in a plain LIBERO loop, written out as the reference runs it, and in our environment.

Each function runs in a process of its own, and returns plain arrays.
"""

import dataclasses
import logging
import resource
import time

import numpy as np

from pirig.evaluation.episode import run_episode
from pirig.launch.simulator import settings
from pirig.policies import baselines
from pirig.policies.scripted import ScriptedPolicy
from pirig.sim import boot, suites
from pirig.sim.libero import CAMERAS, LiberoEnvironment
from pirig.sim.privileged import PrivilegedView
from pirig.types import STANDARD_OBSERVATIONS, EpisodeSpec, Rules, Seeding, Simulator

DUMMY = [0.0] * 6 + [-1.0]


def random_actions(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (count, 7))


@dataclasses.dataclass
class Trace:
    states: list[np.ndarray]  # time, qpos, qvel after set_init_state and after each step
    images: list[np.ndarray]  # both cameras side by side
    proprioception: list[np.ndarray]
    successes: list[bool]


def plain_episode(spec: EpisodeSpec, actions: np.ndarray) -> Trace:
    """As openpi's evaluator sees it, but for the seed, which is per episode."""
    env = _plain_environment(spec, camera_heights=256, camera_widths=256)
    env.seed(spec.seed + spec.trial)
    env.reset()
    trace = _plain_trace(env, spec, actions, look_every=1)
    env.close()
    return trace


def our_episodes(
    spec: EpisodeSpec, actions: np.ndarray, look_every: list[int], simulator: Simulator = "fast"
) -> list[Trace]:
    """The same episode once for each n of `look_every`, with images of every n-th step only, in one environment."""
    env = LiberoEnvironment(settings(), simulator=simulator)
    traces = [_our_trace(env, spec, actions, n) for n in look_every]
    env.close()
    return traces


def rendering_s(spec: EpisodeSpec, looks: list[bool], simulator: Simulator) -> tuple[list[float], float]:
    """Time on images [s] that the environment tells of each step, and what the steps took in all."""
    env, told, start = LiberoEnvironment(settings(), simulator=simulator), [], 0.0
    env.reset(spec)
    start = time.perf_counter()
    for action, is_look in zip(random_actions(len(looks)), looks, strict=True):
        before = env.rendering_s
        env.step(action, ("observation/image", "observation/wrist_image") if is_look else ("observation/state",))
        told.append(env.rendering_s - before)
    whole_s = time.perf_counter() - start
    env.close()
    return told, whole_s


def plain_trials(suite: str, task_id: int, trials: list[int], seed: int, protocol: Seeding, steps: int) -> list[Trace]:
    """Trial after trial in one environment. openpi: seeded once, as the reference does it; else a new one for each.

    Images and proprioception of each 5th step only.
    """
    made, env = [], None
    for trial in trials:
        spec = EpisodeSpec(suite, task_id, trial, seed)
        if env is None:
            env = _plain_environment(spec, camera_heights=256, camera_widths=256)
            env.seed(seed if protocol == "openpi" else seed + trial)
        env.reset()
        made.append(_plain_trace(env, spec, random_actions(steps), look_every=5))
        if protocol == "per-episode":
            env.close()
            env = None
    return made


def our_trials(suite: str, task_id: int, trials: list[int], seed: int, protocol: Seeding, steps: int) -> list[Trace]:
    env = LiberoEnvironment(settings(), seeding=protocol)
    made = [_our_trace(env, EpisodeSpec(suite, task_id, t, seed), random_actions(steps), look_every=5) for t in trials]
    env.close()
    return made


def our_memory(spec: EpisodeSpec, episodes: int) -> list[int]:
    """Resident memory [bytes] after each episode, of a few steps with a look."""
    env = LiberoEnvironment(settings())
    used = []
    for trial in range(episodes):
        _our_trace(env, dataclasses.replace(spec, trial=trial % 50), random_actions(2), look_every=4)
        with open("/proc/self/statm") as file:
            used.append(int(file.read().split()[1]) * resource.getpagesize())
    env.close()
    return used


def rendered_twice(spec: EpisodeSpec, backend: str, looks: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both cameras at each 8th random step: as the fast simulator draws them, and as MuJoCo does."""
    env = LiberoEnvironment(settings(backend))
    env.reset(spec)
    scene, pairs = env._scene, []
    for i, action in enumerate(random_actions(8 * looks)):
        env.step(action)
        for camera in CAMERAS.values() if i % 8 == 0 else ():
            ours = scene._renderer.image(camera).copy()
            pairs.append((ours, scene.built.problem.sim.render(camera_name=camera, width=256, height=256)))
    env.close()
    return pairs


def wrong_drawing(spec: EpisodeSpec) -> tuple[list[str], bool]:
    """What is logged, and whether images are MuJoCo's, where drawing goes wrong."""
    logged: list[str] = []
    handler = logging.Handler(logging.WARNING)
    setattr(handler, "emit", lambda record: logged.append(record.getMessage()))  # noqa: B010
    logging.getLogger("pirig.sim").addHandler(handler)
    env = LiberoEnvironment(settings())
    env.reset(spec)
    renderer, sim = env._scene._renderer, env._scene.built.problem.sim
    renderer._drawing.draw = lambda: True  # and nothing is drawn
    images = [renderer.image("agentview").copy() for _ in range(2)]
    expected = sim.render(camera_name="agentview", width=256, height=256)
    env.close()
    return logged, all(np.array_equal(image, expected) for image in images)


def outcomes_in_order(specs: list[EpisodeSpec], protocol: Seeding) -> list[tuple[bytes, bytes]]:
    """The last state and all images of each episode, one after another in one environment."""
    env = LiberoEnvironment(settings(), seeding=protocol)
    traces = [_our_trace(env, spec, random_actions(5), look_every=5) for spec in specs]
    env.close()
    return [(trace.states[-1].tobytes(), np.array(trace.images).tobytes()) for trace in traces]


def plain_sequence(suite: str, task_id: int, trials: int, seed: int) -> dict[int, list[np.ndarray]]:
    """The reference's order: seeded once, trial after trial."""
    env = _plain_environment(EpisodeSpec(suite, task_id, 0, seed), use_camera_obs=False)
    env.seed(seed)
    states = {}
    for trial in range(trials):
        env.reset()
        env.set_init_state(suites.initial_state(EpisodeSpec(suite, task_id, trial, seed)))
        states[trial] = [env.get_sim_state()]
        for action in [DUMMY] * 10 + random_actions(5).tolist():
            env.step(action)
            states[trial].append(env.get_sim_state())
    env.close()
    return states


def our_sequence(suite: str, task_id: int, order: list[int], seed: int) -> list[tuple[int, list[np.ndarray]]]:
    env = LiberoEnvironment(settings(), seeding="openpi")
    found = []
    for trial in order:
        env.reset(EpisodeSpec(suite, task_id, trial, seed))
        states = [env.state()]
        for action in [DUMMY] * 10 + random_actions(5).tolist():
            env.step(np.array(action))
            states.append(env.state())
        found.append((trial, states))
    env.close()
    return found


def our_fixtures(suite: str, task_id: int, trials: list[int], seed: int) -> list[dict[str, list[float]]]:
    env = LiberoEnvironment(settings(), seeding="openpi")
    found = []
    for trial in trials:
        env.reset(EpisodeSpec(suite, task_id, trial, seed))
        found.append({name: pose.tolist() for name, pose in env.fixture_poses().items()})
    env.close()
    return found


def plain_scripted(spec: EpisodeSpec, rules: Rules) -> tuple[bool, int]:
    """Success and steps of the scripted policy in a plain loop, in a new environment."""
    env = _plain_environment(spec, use_camera_obs=False)
    env.seed(spec.seed + spec.trial)
    env.reset()
    env.set_init_state(suites.initial_state(spec))
    for _ in range(rules.settle_steps):
        env.step(DUMMY)
    view, policy, carry, done, steps = PrivilegedView(env.env), ScriptedPolicy(), None, False, 0
    while not done and steps < rules.max_policy_steps:
        answer = policy.infer({"privileged": view.read(), **({"carry": carry} if carry else {})})
        carry, steps = answer.get("carry"), steps + 1
        _, _, done, _ = env.step(answer["actions"][0].tolist())
    env.close()
    return bool(done), rules.settle_steps + steps


def our_baseline(specs: list[EpisodeSpec], rules: Rules, policy: str = "scripted") -> list[tuple[bool, int]]:
    """Success and steps, one after another in one environment per task, as a worker runs them."""
    env = LiberoEnvironment(settings())
    results = [run_episode(spec, env, baselines.make(policy, lambda run: {}), rules) for spec in specs]
    env.close()
    assert not [result.error for result in results if result.error]
    return [(result.status == "success", result.steps) for result in results]


def _plain_trace(env, spec: EpisodeSpec, actions: np.ndarray, look_every: int) -> Trace:
    obs = env.set_init_state(suites.initial_state(spec))
    trace = Trace([env.get_sim_state()], [], [], [])
    for i, action in enumerate([DUMMY] * 10 + actions.tolist()):
        obs, _, done, _ = env.step(action)
        trace.states.append(env.get_sim_state())
        trace.successes.append(bool(done))
        if (i + 1) % look_every == 0:
            trace.images.append(_reference_images(obs))
            trace.proprioception.append(_reference_state(obs))
    return trace


def _our_trace(env: LiberoEnvironment, spec: EpisodeSpec, actions: np.ndarray, look_every: int) -> Trace:
    env.reset(spec)
    trace = Trace([env.state()], [], [], [])
    for i, action in enumerate([*[DUMMY] * 10, *actions]):
        look = STANDARD_OBSERVATIONS if (i + 1) % look_every == 0 else ()
        step = env.step(np.array(action), look)
        trace.states.append(env.state())
        trace.successes.append(step.success)
        if look:
            pair = step.observation["observation/image"], step.observation["observation/wrist_image"]
            trace.images.append(np.concatenate(pair, axis=1))
            trace.proprioception.append(step.observation["observation/state"])
    return trace


def _plain_environment(spec: EpisodeSpec, **options):
    libero = boot.boot(settings())
    return libero.make(bddl_file_name=str(suites.task(spec.suite, spec.task_id).problem_file), **options)


def _reference_images(obs) -> np.ndarray:
    """openpi's examples/libero/main.py, with PIL's resize written out for square images."""
    from PIL import Image

    turned = [np.ascontiguousarray(obs[name][::-1, ::-1]) for name in ("agentview_image", "robot0_eye_in_hand_image")]
    return np.concatenate([np.array(Image.fromarray(image).resize((224, 224), Image.BILINEAR)) for image in turned], 1)


def _reference_state(obs) -> np.ndarray:
    import robosuite.utils.transform_utils as transform_utils

    rotation = transform_utils.quat2axisangle(obs["robot0_eef_quat"].copy())
    return np.concatenate((obs["robot0_eef_pos"], rotation, obs["robot0_gripper_qpos"]))
