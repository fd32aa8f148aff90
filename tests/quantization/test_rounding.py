"""How much rounding costs, beside the figures of quantization.md's study of layers."""

import functools

import pytest
import torch

from pirig.quantization import transform
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.kernels import rows
from pirig.quantization.rounding import Moments, round_weights, steps
from support.outlier_layers import error, outliers

GENEROUS = 0.15  # of the published figure


@functools.lru_cache(maxsize=1)
def layer():
    return outliers()


def moments(x):
    found = Moments(torch.zeros(x.shape[1], x.shape[1]))
    for part in x.split(1000):
        found.add(part)
    return found


@functools.lru_cache(maxsize=32)
def output_error(*, gptq, clip=True, group=0, bits=4, **settings):
    """Of held-out inputs, with the weights rounded and nothing else."""
    w, x, held_out = layer()
    own = transform.choose(x.abs().amax(0), w.abs().amax(0), x[:64], QuantConfig(**settings))
    hessian = moments(own.inputs(x)).shrunk() if gptq else None
    rounded = round_weights(own.weights(w), bits, hessian=hessian, clip=clip, group=group)
    return error(own.inputs(held_out) @ rounded.dequantized().T, held_out @ w.T)


@pytest.mark.parametrize(
    ("figure", "settings"),
    [
        (0.082, {"method": "rtn", "gptq": False, "clip": False}),
        (0.044, {"method": "rtn", "gptq": False}),
        (0.042, {"smoothing": 0.0, "permute": False, "gptq": False}),
        (0.011, {"gptq": False}),
        (0.012, {"smoothing": 0.0, "gptq": True}),
        (0.010, {"smoothing": 0.0, "gptq": True, "group": 128}),
        (0.011, {"gptq": True}),
    ],
    ids=["nearest", "clip", "hadamard", "smooth zigzag hadamard", "zigzag hadamard gptq", "groups", "duquant"],
)
def test_errors_are_those_of_the_study(figure, settings):
    assert output_error(**settings) == pytest.approx(figure, rel=GENEROUS)


def test_duquant_has_a_third_of_the_error_of_rounding_to_nearest():
    assert output_error(gptq=True) < output_error(method="rtn", gptq=False) / 3


def test_more_bits_are_better():
    w, x, held_out = outliers(rows=2048, outputs=64, channels=512)
    hessian = moments(x).shrunk()
    errors = [
        error(held_out @ round_weights(w, bits, hessian=hessian).dequantized().T, held_out @ w.T)
        for bits in (2, 3, 4, 6, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 3e-4 < 0.1 < errors[0]


@pytest.mark.parametrize(("figure", "rotated"), [(0.0074, False), (0.00018, True)])
def test_activation_errors_are_those_of_the_study(figure, rotated):
    w, x, held_out = layer()
    settings = {"smoothing": 0.0} if rotated else {"method": "rtn"}
    own = transform.choose(x.abs().amax(0), w.abs().amax(0), x[:64], QuantConfig(**settings))
    codes, scale = rows.quantize_rows(own.inputs(held_out), None, None, 1, 8)
    found = error(codes.float() * scale[:, None] @ own.weights(w).T, held_out @ w.T)
    assert found == pytest.approx(figure, rel=0.2)


def test_gptq_is_the_papers_algorithm():
    """Against a plain transcription: column by column, each error spread by the inverse of what is left of H."""
    draw = torch.Generator().manual_seed(0)
    w, x = torch.randn(6, 200, generator=draw), torch.randn(400, 200, generator=draw)
    hessian = (x.T @ x / len(x)).double() @ torch.eye(200).double()
    found = round_weights(w, 4, hessian=hessian.float())
    step = steps(found.scale, None, 200).expand_as(w).double()
    left, rest = w.double().clone(), hessian + 0.01 * hessian.diagonal().mean() * torch.eye(200)
    codes = torch.zeros_like(left)
    for i in range(200):
        inverse = torch.linalg.inv(rest[i:, i:])
        codes[:, i] = (left[:, i] / step[:, i]).round().clamp(-7, 7)
        miss = (left[:, i] - codes[:, i] * step[:, i]) / inverse[0, 0]
        left[:, i + 1 :] -= miss[:, None] * inverse[0, 1:]
    assert (codes != found.codes).double().mean() < 0.005  # halves may fall to either side


def test_moments_of_few_rows_count_for_little():
    """Of independent channels, nearly nothing is left beside the diagonal; of many rows nearly everything is."""
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    shrunk = moments(x).shrunk()
    aside = shrunk - torch.diag(shrunk.diagonal())
    assert aside.abs().max() < 0.1
    assert torch.linalg.eigvalsh(shrunk).min() > 0.5
    mixed = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(1)) @ torch.randn(16, 64)
    kept = moments(mixed)
    assert error(kept.shrunk(), kept.second / kept.rows) < 1e-4


def test_channels_that_nothing_uses_do_no_harm():
    w, x = torch.randn(4, 64), torch.randn(100, 64)
    x[:, 5] = 0.0
    found = round_weights(w, 4, hessian=x.T @ x)
    assert torch.isfinite(found.dequantized()).all()
    assert found.codes.abs().max() <= 7


def test_a_row_of_zeros_stays_one():
    w = torch.zeros(2, 64)
    w[1] = 1.0
    found = round_weights(w, 4)
    assert torch.equal(found.codes[0], torch.zeros(64, dtype=torch.int8))
    assert torch.isfinite(found.scale).all()
    assert torch.allclose(found.dequantized()[1], w[1])


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_are_symmetric_and_within_their_bits(bits):
    found = round_weights(torch.randn(16, 128, generator=torch.Generator().manual_seed(0)), bits)
    assert int(found.codes.abs().max()) <= 2 ** (bits - 1) - 1


def test_the_error_that_is_told_is_the_error_that_is_made():
    w, x, _ = outliers(rows=3000, outputs=8, channels=512)
    found = round_weights(w, 4, hessian=x.T @ x / len(x))
    assert found.error == pytest.approx(error(x @ found.dequantized().T, x @ w.T), rel=1e-3)
