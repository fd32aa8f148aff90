"""`duquant`, GPTQ included, on one layer of each shape of the full-size model. Takes minutes and 6 GiB."""

import pytest
import torch

from pirig.quantization import packing, transform
from pirig.quantization.configuration import QuantConfig
from pirig.quantization.kernels import choose
from pirig.quantization.linear import Packed, QuantizedLinear
from pirig.quantization.rounding import Moments, round_weights
from support.outlier_layers import error, outliers

SHAPES = [  # output and input channels
    (2048, 2048), (256, 2048), (16_384, 2048), (2048, 16_384),  # language model: q and o, k and v, gate and up, down
    (2048, 1024), (256, 1024), (1024, 2048), (4096, 1024), (1024, 4096),  # action expert, the same
]  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_a_layer_of_full_size(n, k):
    """From a float layer to codes, packed, multiplied as integers; its error is a third of rounding to nearest."""
    w, x, held_out = outliers(rows=max(8192, k), outputs=n, channels=k)
    held_out = held_out[:256]
    configuration = QuantConfig()
    with torch.inference_mode():
        own = transform.choose(x.abs().amax(0), w.abs().amax(0), x[:8], configuration)
        moments = Moments(torch.zeros(k, k))
        for part in x.split(2048):
            moments.add(own.inputs(part))
        rounded = round_weights(own.weights(w), 4, hessian=moments.shrunk())
        packed = Packed(packing.pack(rounded.codes, 4)[None], rounded.scale, None, 4, k)
        assert packed.codes.numel() == n * k // 2
        layer = QuantizedLinear(packed, own, 8, choose("cpu"))
        expected = held_out @ w.T
        nearest = held_out @ round_weights(w, 4).dequantized().T
        assert error(layer(held_out), expected) < error(nearest, expected) / 3
