"""Checkpoints as policies: the tiny ones, whose weights the golden values were made with."""

import dataclasses

import numpy as np
import pytest

from pirig import seeding
from pirig.errors import ConfigError, PolicyError
from pirig.policies import ModelChoice, create_policy
from pirig.policies.recipes import RECIPES, recipe
from pirig.testing import PolicyLaws
from support import golden, tiny

BACKENDS = ["jax", "torch"]
GOLDEN = np.load(golden.ROOT / "checkpoints/end_to_end_policy.npz")
PROMPTS = (
    "open it",
    "put the black bowl on the plate",
    "turn on the stove",
    "put the black bowl in the bottom drawer of the wooden cabinet and close it, then put the other bowl on the plate",
    "push the plate to the front of the stove and then to the left of the wine bottle",
)
READ = ("observation/image", "observation/wrist_image", "observation/state", "prompt")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        (name, layout): tiny.checkpoint(folder / f"{name}_{layout}", name, layout)
        for name in ("pi05_libero_tiny", "pi0_libero_tiny")
        for layout in ("orbax", "safetensors")
    }


@pytest.fixture(scope="module")
def make(checkpoints):
    """A policy; the same arguments give the same one."""
    made = {}

    def get(name="pi05_libero_tiny", layout="orbax", max_batch=1, dtype="float32", **options):
        choice = ModelChoice(dtype=dtype, **options)
        key = name, layout, max_batch, choice
        if key not in made:
            made[key] = create_policy(
                name, checkpoints[name, layout], choice, max_batch=max_batch, tokenizer=tiny.TOKENIZER
            )
        return made[key]

    return get


def observation():
    return {key: str(GOLDEN[f"in/{key}"]) if key == "prompt" else GOLDEN[f"in/{key}"] for key in READ}


def observations(count):
    """Of different pictures, and prompts of different lengths."""
    return [
        {
            **observation(),
            "observation/image": np.roll(GOLDEN["in/observation/image"], 9 * i, axis=0),
            "observation/state": GOLDEN["in/observation/state"] + 0.01 * i,
            "prompt": PROMPTS[i],
            "noise_key": f"libero_goal/task00/trial{i:03d}/seed7/call0",
        }
        for i in range(count)
    ]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


class TestJax(PolicyLaws):
    BATCH_TOLERANCE = 1e-5
    backend_name = "jax"

    @pytest.fixture(autouse=True)
    def policy(self, make):
        self.policy = make(backend=self.backend_name, max_batch=4)

    def make_policy(self):
        return self.policy

    def make_observation(self):
        return {**observation(), "noise_key": "key"}


class TestTorch(TestJax):
    backend_name = "torch"


@pytest.mark.parametrize("layout", ["orbax", "safetensors"])
@pytest.mark.parametrize("name", ["pi05", "pi0"])
def test_actions_are_the_reference_s(make, name, layout, backend):
    """From either layout in either backend, through the whole pipeline; the reference computes in bfloat16."""
    policy = make(f"{name}_libero_tiny", layout, backend=backend, dtype="bfloat16")
    found = policy.infer(observation(), noise=GOLDEN[f"in/noise_{name}"])["actions"]
    assert found.dtype == np.float64
    assert np.abs(found - GOLDEN[f"out/{name}_jax_bf16/actions"]).max() < 0.06


@pytest.mark.parametrize("name", ["pi05_libero_tiny", "pi0_libero_tiny"])
def test_layouts_and_backends_agree(make, name):
    """In float32, on the same noise."""
    noise = GOLDEN["in/noise_pi05" if "05" in name else "in/noise_pi0"]
    found = [
        make(name, layout, backend=backend).infer(observation(), noise=noise)["actions"]
        for layout in ("orbax", "safetensors")
        for backend in BACKENDS
    ]
    assert all(np.abs(actions - found[0]).max() < 1e-4 for actions in found[1:])
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[3])


@pytest.mark.parametrize("name", ["pi05_libero_tiny", "pi0_libero_tiny"])
def test_trimming_changes_nothing(make, name, backend):
    trimmed = make(name, backend=backend).infer(observations(1)[0])["actions"]
    assert np.abs(make(name, backend=backend, trim=False).infer(observations(1)[0])["actions"] - trimmed).max() < 1e-5


def test_a_batch_is_its_rows(make, backend):
    policy, asked = make(backend=backend, max_batch=4), observations(5)
    together = [answer["actions"] for answer in policy.infer_batch(asked)]
    assert all(
        np.abs(policy.infer(obs)["actions"] - own).max() < 1e-5 for obs, own in zip(asked, together, strict=True)
    )
    assert not any(np.allclose(together[0], other) for other in together[1:])


STRICT = [("pi05_libero_tiny", "bfloat16"), ("pi05_libero_tiny", "float32"), ("pi0_libero_tiny", "bfloat16")]


@pytest.mark.parametrize(("name", "dtype"), STRICT)
def test_strict_bits_do_not_depend_on_company(make, name, backend, dtype):
    """Alone, in a batch, in another place of another batch, and beside longer prompts."""
    policy = make(name, backend=backend, dtype=dtype, max_batch=3, strict=True)
    asked = observations(5)
    alone = [policy.infer(obs)["actions"] for obs in asked]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0], [1, 3], [3, 0, 1, 4, 2]):
        answers = policy.infer_batch([asked[i] for i in order])
        for i, answer in zip(order, answers, strict=True):
            assert np.array_equal(answer["actions"], alone[i]), (order, i)


def test_warm_up_compiles_every_shape_of_a_run(make):
    policy = make(backend="jax", max_batch=2)
    policy.warm_up()
    compiled = dict(policy._backend._compiled)
    assert {key[0] for key in compiled} == {1, 2}
    assert {key[2] for key in compiled} == {16, 32, 48, 200}
    policy.infer_batch(observations(2))
    policy.infer(observations(1)[0])
    assert policy._backend._compiled == compiled


def test_noise_is_decided_by_the_key_and_may_be_given(make, backend):
    policy = make(backend=backend)
    obs = observations(1)[0]
    given = policy.infer({**obs, "noise_key": "ignored"}, noise=seeding.noise(obs["noise_key"], (10, 32)))
    assert np.array_equal(policy.infer(obs)["actions"], given["actions"])
    assert not np.array_equal(policy.infer({**obs, "noise_key": "other"})["actions"], given["actions"])


def test_without_a_key_equal_observations_get_equal_noise(make):
    policy = make(backend="torch")
    first = policy.infer(observation())["actions"]
    assert np.array_equal(policy.infer({**observation(), "carry": 3})["actions"], first)
    moved = {**observation(), "observation/state": observation()["observation/state"] + 1e-9}
    assert not np.array_equal(policy.infer(moved)["actions"], first)  # π0.5 reads no state: the noise is another


def test_what_the_metadata_says(make, backend):
    policy = make(backend=backend, dtype="bfloat16")
    content = policy.metadata["checkpoint"]
    assert policy.metadata == {
        "name": "pi05_libero_tiny",
        "recipe": "pi05_libero_tiny",
        "backend": backend,
        "dtype": "bfloat16",
        "device": "cpu",
        "checkpoint": content,
        "action_horizon": 10,
        "trimming": True,
        "strict": False,
    }
    assert len(content) == 64
    assert make("pi0_libero_tiny", backend=backend).metadata["checkpoint"] != content
    assert policy.infer(observation())["policy_timing"]["infer_ms"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": None}, "the observation lacks prompt; found observation/image, .* expected observation/image"),
        ({"observation/image": np.zeros((224, 224), np.uint8)}, r"observation/image must be of shape \[H, W, 3\]"),
        ({"observation/state": np.zeros(7)}, r"observation/state must be of shape \[8\]; found \[7\]"),
    ],
)
def test_a_bad_observation_is_named(make, change, message):
    obs = {key: value for key, value in {**observation(), **change}.items() if value is not None}
    with pytest.raises(PolicyError, match=message):
        make(backend="torch").infer(obs)


def test_noise_of_another_shape_is_refused(make):
    with pytest.raises(PolicyError, match=r"noise must be of shape \[10, 32\]; found \[50, 32\]"):
        make(backend="torch").infer(observation(), noise=np.zeros((50, 32), np.float32))


def test_what_cannot_be_loaded_is_named(checkpoints, tmp_path):
    pi0 = checkpoints["pi0_libero_tiny", "orbax"]
    with pytest.raises(ConfigError, match="unknown recipe 'pi05'; there are: pi05_libero, pi0_libero"):
        create_policy("pi05", pi0)
    with pytest.raises(ConfigError, match=r"it looks like a checkpoint of π0: choose another recipe"):
        create_policy("pi05_libero_tiny", pi0, tokenizer=tiny.TOKENIZER)
    with pytest.raises(ConfigError, match="there is no tokenizer at .*pirig checkpoint fetch gs://big_vision"):
        create_policy("pi0_libero_tiny", pi0, tokenizer=tmp_path / "none.model")
    with pytest.raises(ConfigError, match="there is no such folder; expected one that has a folder params/"):
        create_policy("pi0_libero_tiny", tmp_path / "nowhere")


@pytest.mark.slow
def test_torch_compile_changes_nothing(make):
    policy, asked = make(backend="torch", compile=True), observations(2)
    for obs in asked:
        plain = make(backend="torch").infer(obs)["actions"]
        assert np.abs(policy.infer(obs)["actions"] - plain).max() < 1e-5


def test_the_backend_follows_the_layout(make):
    assert make(layout="orbax").metadata["backend"] == "jax"
    assert make(layout="safetensors").metadata["backend"] == "torch"


def test_a_recipe_is_a_row():
    assert [recipe(name) for name in RECIPES] == list(RECIPES.values())
    assert dataclasses.replace(recipe("pi05_libero"), name="mine").checkpoint.startswith("gs://openpi-assets/")
