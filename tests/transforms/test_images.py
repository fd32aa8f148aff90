"""Golden values: openpi's client (`image_tools.resize_with_pad`) on Pillow."""

import numpy as np
import pytest

from pirig.transforms.images import resize_with_pad, upright
from support import golden

CASES = sorted((golden.ROOT / "transforms").glob("resize_with_pad_*_to_224.npz"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_resizing_is_byte_equal_to_the_reference(path):
    case = np.load(path)
    assert np.array_equal(resize_with_pad(case["in/image"], 224, 224), case["out/client_pil_uint8"])


def test_there_are_golden_cases():
    assert len(CASES) >= 3


def test_an_image_of_the_right_size_is_left_alone():
    image = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(224, 224, 3)
    assert resize_with_pad(image, 224, 224) is image


def test_turning_twice_is_the_identity():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    turned = upright(image)
    assert np.array_equal(upright(turned), image)
    assert np.array_equal(turned[0, 0], image[-1, -1])
    assert turned.flags.c_contiguous
