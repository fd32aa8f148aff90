"""Laws of the LIBERO environment, and that where an episode runs changes nothing."""

import pytest

from pirig.errors import ConfigError
from pirig.evaluation.executors import ProcessExecutor
from pirig.evaluation.plan import Work
from pirig.launch.policy import source_of
from pirig.launch.settings import ModelChoice, PolicyChoice
from pirig.launch.worker import LiberoWorkerFactory
from pirig.machine import egl
from pirig.policies.scripted import ScriptedPolicy
from pirig.sim import suites
from pirig.sim.libero import LiberoEnvironment
from pirig.testing import EnvironmentLaws
from pirig.types import EpisodeSpec, Rules
from support import simulators
from support.policy_server import serve_in_thread

SPECS = [
    EpisodeSpec("libero_goal", 3, 0, 7),
    EpisodeSpec("libero_goal", 3, 1, 7),
    EpisodeSpec("libero_spatial", 0, 2, 7),
]
SHORT = Rules(max_policy_steps=15, settle_action=suites.SETTLE_ACTION)


def outcomes(specs, tmp_path, *, workers=1, policy="random", rules=SHORT):
    factory = LiberoWorkerFactory(
        settings=simulators.settings(),
        simulator="fast",
        seeding="per-episode",
        resize=224,
        policy=source_of(PolicyChoice(policy, connect_timeout_s=10), ModelChoice(), tmp_path),
        rules={spec.suite: rules for spec in specs},
        first=specs[0],
        videos={},
    )
    results = list(ProcessExecutor(workers).run(Work(specs), factory))
    assert not [result.error for result in results if result.error]
    return {result.spec: result.outcome() for result in results}


def test_order_company_and_number_of_workers_change_nothing(tmp_path):
    expected = outcomes(SPECS, tmp_path)
    assert len({state for _, _, state, _ in expected.values()}) == len(SPECS)
    assert outcomes(SPECS[::-1], tmp_path, workers=3) == expected
    alone = SPECS[1]
    assert outcomes([alone], tmp_path) == {alone: expected[alone]}


def test_a_scheduler_that_names_gpus_does_not_choose_the_egl_device(tmp_path, monkeypatch):
    """robosuite would take the names for EGL's numbers, and fail."""
    if not egl.devices():
        pytest.skip("there is no EGL")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-11111111-0000-0000-0000-000000000000")
    assert len(outcomes(SPECS[:1], tmp_path)) == 1


def test_a_served_policy_gives_the_same_episodes_as_a_headless_one(tmp_path):
    specs = [EpisodeSpec("libero_object", 0, 0, 7), EpisodeSpec("libero_object", 2, 1, 7)]
    rules = suites.rules("libero_object", replan_steps=1)
    headless = outcomes(specs, tmp_path, workers=2, policy="scripted", rules=rules)
    with serve_in_thread(ScriptedPolicy()) as port:
        served = outcomes(specs, tmp_path, workers=2, policy=f"ws://127.0.0.1:{port}", rules=rules)
    assert served == headless
    assert {status for status, *_ in headless.values()} == {"success"}


class TestLiberoEnvironment(EnvironmentLaws):
    """The one simulator that lives in the process of the tests."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def env(cls):
        cls._env = env = LiberoEnvironment(simulators.settings())
        yield env
        env.close()

    def make_environment(self):
        return self._env

    def make_specs(self):
        return EpisodeSpec("libero_goal", 1, 0, 7), EpisodeSpec("libero_goal", 1, 3, 7)

    def test_the_observation_is_what_openpi_sends(self, env):
        look = ("observation/image", "observation/wrist_image", "observation/state")
        seen = env.reset(self.make_specs()[0], look).observation
        assert {key: (value.dtype.str, value.shape) for key, value in seen.items() if key != "prompt"} == {
            "observation/image": ("|u1", (224, 224, 3)),
            "observation/wrist_image": ("|u1", (224, 224, 3)),
            "observation/state": ("<f8", (8,)),
        }
        assert seen["prompt"] == "put the bowl on the stove"
        assert seen["observation/image"].std() > 20, "a picture, not a blank"

    def test_bad_episodes_and_keys_say_what_there_is(self, env):
        for spec, message in (
            (EpisodeSpec("libero_gaol", 0, 0), "unknown suite 'libero_gaol'; there are: libero_spatial"),
            (EpisodeSpec("libero_goal", 10, 0), "libero_goal has no task 10; its tasks are 0 to 9"),
            (EpisodeSpec("libero_goal", 0, 50), "no trial 50; it has 50 initial states"),
        ):
            with pytest.raises(ConfigError, match=message):
                env.reset(spec)
        with pytest.raises(ConfigError, match="unknown LIBERO observation 'depth'; there are: "):
            env.reset(self.make_specs()[0], ("depth",))

    def test_it_names_the_renderer(self, env):
        env.reset(self.make_specs()[0])
        assert env.describe()["gl_renderer"]
        assert env.describe()["versions"]["mujoco"] == "3.2.3"
