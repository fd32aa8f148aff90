"""The same episode twice: in a plain LIBERO loop, written out as the reference runs it, and in our environment.

Each function runs in a process of its own, and returns plain arrays.
"""

import dataclasses

import numpy as np

from pirig import envvars
from pirig.evaluation.episode import run_episode
from pirig.policies import baselines
from pirig.policies.scripted import ScriptedPolicy
from pirig.sim import assets, boot, gl, suites
from pirig.sim.libero import LiberoEnvironment
from pirig.sim.privileged import PrivilegedView
from pirig.types import STANDARD_OBSERVATIONS, EpisodeSpec, Rules

DUMMY = [0.0] * 6 + [-1.0]


def settings() -> boot.Settings:
    backend = gl.choose(envvars.get("MUJOCO_GL")).backend
    return boot.Settings(backend, assets.locate(envvars.get("PIRIG_LIBERO_ASSETS")), envvars.cache_dir())


def random_actions(count: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (count, 7))


@dataclasses.dataclass
class Trace:
    states: list[np.ndarray]  # time, qpos, qvel after set_init_state and after each step
    images: list[np.ndarray]  # both cameras side by side
    proprioception: list[np.ndarray]


def plain_episode(spec: EpisodeSpec, actions: np.ndarray) -> Trace:
    """As openpi's evaluator sees it, but for the seed, which is per episode."""
    env = _plain_environment(spec, camera_heights=256, camera_widths=256)
    env.seed(spec.seed + spec.trial)
    env.reset()
    obs = env.set_init_state(suites.initial_state(spec))
    trace = Trace([env.get_sim_state()], [], [])
    for action in [DUMMY] * 10 + actions.tolist():
        obs, _, _, _ = env.step(action)
        trace.states.append(env.get_sim_state())
        trace.images.append(_reference_images(obs))
        trace.proprioception.append(_reference_state(obs))
    env.close()
    return trace


def our_episode(spec: EpisodeSpec, actions: np.ndarray, look_every: int) -> Trace:
    """Looks at every `look_every`-th step only; the lists of what is seen hold those steps alone."""
    env = LiberoEnvironment(settings())
    env.reset(spec)
    trace = Trace([env.state()], [], [])
    for i, action in enumerate([*[DUMMY] * 10, *actions]):
        look = STANDARD_OBSERVATIONS if (i + 1) % look_every == 0 else ()
        seen = env.step(np.array(action), look).observation
        trace.states.append(env.state())
        if look:
            pair = seen["observation/image"], seen["observation/wrist_image"]
            trace.images.append(np.concatenate(pair, axis=1))
            trace.proprioception.append(seen["observation/state"])
    env.close()
    return trace


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
    while not done and steps < rules.max_steps:
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
