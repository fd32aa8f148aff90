"""Both backends against the reference's own JAX and PyTorch models (openpi, commit 15a9616), value by value.

The golden files of all sizes and dtypes lie beside the repository; a compact part of the tiny ones is in tests/data.
"""

import dataclasses

import numpy as np
import pytest

from pirig.models import sampling
from support import backends

TOLERANCES = (  # absolute; prefix of the name, float32, bfloat16
    ("actions", 1e-4, 0.06),
    ("trace_actions", 1e-4, 0.06),
    ("siglip", 2e-5, 0.5),
    ("prefix/embs", 2e-5, 0.1),
    ("prefix/k", 2e-4, 0.6),
    ("prefix/v", 5e-5, 0.15),
    ("prefix/out", 5e-5, 0.15),
    ("suffix0/embs", 1e-5, 0.02),
    ("suffix0/out", 2e-4, 0.15),
    ("steps/v_t", 3e-4, 0.15),
    ("steps/x_after", 1e-4, 0.06),
    ("steps/adarms_cond", 5e-5, 0.005),
    ("steps/posemb", 1e-6, 1e-6),
    ("steps/time", 0, 0),
    ("prefix/mask", 0, 0),
    ("prefix/positions", 0, 0),
    ("suffix0/positions", 0, 0),
)
DTYPES = {"f32": "float32", "bf16": "bfloat16"}


def files(size, batch="b*"):
    """Those of `mixed` dtype (weights in float32, products in bfloat16) are of a mode that we do not have."""
    return sorted(f for dtype in DTYPES for f in backends.FOLDER.glob(f"*_{size}_{dtype}_{batch}_jax.npz"))


def compare(name, found, expected, dtype, valid):
    limit = next(limits[dtype == "bf16"] for prefix, *limits in TOLERANCES if name.startswith(prefix))
    if name.startswith("prefix/") and found.shape != expected.shape:
        every = (found.shape[1] + expected.shape[1] - 1) // expected.shape[1]  # golden files thin out long axes
        found, valid = found[:, ::every], valid[:, ::every]
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    if name.startswith(("prefix/embs", "prefix/k", "prefix/v", "prefix/out")):
        found, expected = found[valid], expected[valid]
    assert np.abs(found.astype(np.float64) - expected.astype(np.float64)).max() <= limit, name


def check(path, kind):
    model, size, dtype, count = path.stem.split("_")[:4]
    name, count = f"{model}_{size}", int(count[1:])
    backend, given, golden = kind(name, DTYPES[dtype]), backends.batch(name, count), np.load(path)
    valid = sampling.prefix_layout(given, backend.config.vision.tokens)[0]
    found = backends.trace(backend, given)
    whole = size == "tiny"  # the large ones take minutes
    found["actions"] = backends.sample(backend, given, trim=False) if whole else found["trace_actions"]
    for key in golden.files:
        compare(key, found[key], golden[key], dtype, valid)
    compare("actions", backends.sample(backend, given), golden["actions"], dtype, valid)  # trimmed
    assert {"actions", "steps/v_t"} <= set(golden.files)


@pytest.mark.parametrize("path", files("tiny"), ids=lambda path: path.stem)
def test_every_value_of_the_tiny_models_in_pytorch(path):
    check(path, backends.Torch)


@pytest.mark.parametrize("path", files("tiny", "b3"), ids=lambda path: path.stem)
def test_every_value_of_the_tiny_models_in_jax(path):
    check(path, backends.Jax)


@pytest.mark.slow
@pytest.mark.parametrize("path", files("tiny", "b1"), ids=lambda path: path.stem)
def test_every_value_of_a_single_observation_in_jax(path):
    """Other shapes, so JAX compiles all functions again."""
    check(path, backends.Jax)


def sized(size):
    """Three observations in `make test-slow`, one in `make test-full`."""
    marks = {"b3": pytest.mark.slow, "b1": pytest.mark.full}
    return [
        pytest.param(path, marks=mark, id=path.stem) for batch, mark in marks.items() for path in files(size, batch)
    ]


@pytest.mark.parametrize("kind", backends.BACKENDS)
@pytest.mark.parametrize("path", sized("dummy"))
def test_every_value_with_the_real_image_encoder(path, kind):
    """412 M parameters of SigLIP, in both backends."""
    check(path, backends.BACKENDS[kind])


def test_the_golden_values_are_there():
    assert len(files("tiny")) == 8


@pytest.mark.parametrize("name", ["pi05_tiny", "pi0_tiny"])
@pytest.mark.parametrize("count", [1, 3])
def test_backends_agree(name, count):
    given = backends.batch(name, count)
    jax, torch = (backends.sample(kind(name, "float32"), given) for kind in backends.BACKENDS.values())
    assert np.abs(jax - torch).max() < 1e-4


@pytest.mark.parametrize("kind", backends.BACKENDS)
@pytest.mark.parametrize("name", ["pi05_tiny", "pi0_tiny"])
def test_what_is_trimmed_changes_nothing(name, kind):
    """Neither a masked camera's pixels, nor what is written behind a prompt, nor leaving both out."""
    backend, given = backends.BACKENDS[kind](name, "float32"), backends.batch(name, 1)
    assert not given.cameras[0, 2]
    assert not given.words[0, -1]
    expected = backends.sample(backend, given, trim=False)
    for tokens in (None, 16, given.tokens.shape[1]):
        trimmed = sampling.trim(given, tokens)
        assert trimmed.images.shape[1] == 2
        assert np.abs(backends.sample(backend, trimmed, trim=True) - expected).max() < 1e-5
    images, tokens = given.images.copy(), given.tokens.copy()
    images[0, 2], tokens[~given.words] = 200, 7
    other = dataclasses.replace(given, images=images, tokens=tokens)
    assert np.array_equal(backends.sample(backend, other, trim=False), expected)


@pytest.mark.parametrize("kind", backends.BACKENDS)
def test_rows_of_a_batch_are_what_they_are_alone(kind):
    backend, given = backends.BACKENDS[kind]("pi05_tiny", "float32"), backends.batch("pi05_tiny", 3)
    together = backends.sample(backend, given)
    for i in range(3):
        assert np.abs(backends.sample(backend, given.rows(np.array([i])))[0] - together[i]).max() < 1e-5
