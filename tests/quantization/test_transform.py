"""The exactness contract's first part, in float64, and what the transforms are for."""

import pytest
import scipy.linalg
import torch

from pirig.quantization import transform
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.transform import Transform, block_size, signs, zigzag
from support.outlier_layers import error, outliers

EXACT = 1e-10
SHAPES = [(2560, 2048), (2048, 2048), (2048, 16384), (2560, 1024), (1024, 2048), (1024, 4096), (64, 64), (48, 16)]


def chosen(w, x, **settings):
    configuration = QuantConfig(**settings)
    return transform.choose(x.abs().amax(0), w.abs().amax(0), x[:64].float(), configuration, seed="a")


def layer(n, k, heads=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(20, k, generator=draw, dtype=torch.float64) * (1 + 30 * (torch.arange(k) % 97 == 0))
    return torch.randn(n, k, generator=draw, dtype=torch.float64), x


@pytest.mark.parametrize("method", ["duquant", "rtn"])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_a_transform_changes_no_product(n, k, method):
    w, x = layer(min(n, 64), k)
    own = chosen(w, x, method=method)
    assert error(own.inputs(x) @ own.weights(w).T, x @ w.T) < EXACT**2


@pytest.mark.parametrize(("permute", "block"), [(True, 128), (False, 32)])
def test_the_papers_transform_changes_no_product(permute, block):
    """But for the rounding of its matrices, which are kept in float32."""
    w, x = layer(32, 256)
    own = chosen(w, x, method="duquant-paper", permute=permute, block=block)
    assert error(own.inputs(x) @ own.weights(w).T, x @ w.T) < 1e-12


def test_the_greedy_rotations_spread_what_sticks_out():
    w, x = layer(32, 256)
    own, again = (chosen(w, x, method="duquant-paper", smoothing=0.0, block=64) for _ in range(2))
    assert own.inputs(x[:64]).abs().max() < 0.5 * x[:64].abs().max()
    assert torch.equal(own.second, again.second)


def test_layers_before_may_take_over_what_heads_share():
    """Attention mixes values: weighted sums over tokens, the same weights for all channels of a head."""
    heads, size = 8, 16
    w, x = layer(40, 32)
    values, mix = w[:size], torch.rand(heads, 5, 20, dtype=torch.float64)
    out = torch.randn(24, heads * size, dtype=torch.float64)

    def mixed(rows_):
        return (mix @ (x @ rows_.T)).transpose(0, 1).reshape(5, -1)

    own = chosen(out.reshape(24 * heads, size), mixed(values).reshape(-1, size))
    turned = own.inputs(values.T.contiguous()).T
    assert error(mixed(turned) @ own.repeated(heads).weights(out).T, mixed(values) @ out.T) < EXACT**2


def test_layers_before_may_take_over_scales_and_order_of_a_product():
    w, x = layer(64, 32)
    gate, up = w[:32], w[32:]
    down = torch.randn(8, 32, dtype=torch.float64)
    own = chosen(down, (x @ gate.T).tanh() * (x @ up.T))

    def rows_of(part, **left):
        return own.without(order=False, rotation=True, **left).inputs(part.T.contiguous()).T

    product = (x @ rows_of(gate, scales=True).T).tanh() * (x @ rows_of(up, scales=False).T)
    left = own.without(scales=True, order=True, rotation=False)
    found = left.inputs(product) @ own.weights(down).T
    assert error(found, ((x @ gate.T).tanh() * (x @ up.T)) @ down.T) < EXACT**2


def test_the_zigzag_deals_there_and_back():
    maxima = torch.tensor([8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0])
    assert zigzag(maxima, 4).tolist() == [0, 6, 7, 1, 2, 4, 5, 3]  # 8 5 4 1 | 7 6 3 2


def test_the_zigzag_evens_out_blocks():
    maxima = torch.rand(512, generator=torch.Generator().manual_seed(0)) ** 4
    blocks = maxima[zigzag(maxima, 128)].reshape(-1, 128).sum(1)
    assert blocks.max() / blocks.min() < 1.05 < (lambda b: b.max() / b.min())(maxima.reshape(-1, 128).sum(1))


def test_the_rotation_is_hadamards_matrix_with_the_signs_of_the_seed():
    x = torch.randn(7, 256, generator=torch.Generator().manual_seed(0)).double()
    turn = torch.diag(signs(3, 128).double()) @ torch.from_numpy(scipy.linalg.hadamard(128)).double() / 128**0.5
    expected = torch.cat([part @ turn for part in x.split(128, dim=1)], dim=1)
    assert torch.allclose(Transform(signs=signs(3, 128)).inputs(x), expected, atol=1e-12)


def test_a_seed_decides_the_signs():
    assert torch.equal(signs(3, 128), signs(3, 128))
    assert not torch.equal(signs(3, 128), signs(4, 128))
    assert set(signs(0, 128).tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(("channels", "block"), [(2048, 128), (16384, 128), (64, 64), (16, 16), (4304, 16), (7, 1)])
def test_blocks_are_the_largest_power_of_two_that_divides(channels, block):
    assert block_size(channels, 128) == block


def test_nothing_is_done_where_nothing_is_asked():
    w, x = layer(8, 64)
    own = chosen(w, x, method="rtn")
    assert own.tensors() == {}
    assert torch.equal(own.inputs(x), x)
    assert Transform().repeated(8).tensors() == {}


def test_outliers_are_gone_after_it():
    w, x, _ = outliers(rows=512, outputs=16)
    own = transform.choose(x.abs().amax(0), w.abs().amax(0), x[:8], QuantConfig())
    before, after = (float((y.abs().amax(1) / y.square().mean(1).sqrt()).mean()) for y in (x, own.inputs(x)))
    assert after < 4.5 < 15 < before  # a normal distribution's largest of 2048 is 3.7 deviations
