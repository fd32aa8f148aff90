import numpy as np
import pytest

from pirig.models import sampling
from pirig.models.config import PI0, PI05
from support import backends


def test_times_are_accumulated_in_float32():
    found = sampling.times(10)
    assert found.dtype == np.float32
    assert found[0] == 1.0
    assert (float(found[-2]).hex(), float(found[-1]).hex()) == ("0x1.9999900000000p-3", "0x1.9999860000000p-4")


def test_masked_tokens_take_no_position():
    given = backends.batch("pi05_tiny", 3)
    mask, positions = sampling.prefix_layout(given, 256)
    assert mask.shape == (3, 3 * 256 + 200)
    assert mask.sum(axis=1).tolist() == [525, 569, 968]
    for row, where in zip(positions, mask, strict=True):
        assert np.array_equal(row[where], np.arange(where.sum()))
    assert sampling.suffix_positions(mask, PI05)[:, 0].tolist() == [525, 569, 968]


def test_the_state_token_does_not_see_the_actions():
    sees = sampling.suffix_mask(PI0)
    assert sees.shape == (51, 51)
    assert sees[0].sum() == 1
    assert sees[1:].all()
    assert sampling.suffix_mask(PI05).all()


def test_a_batch_is_trimmed_to_what_is_in_it():
    given = backends.batch("pi05_tiny", 3)
    assert sampling.trim(given).images.shape[1] == 3  # the third sample has all cameras
    two = given.rows(np.array([0, 1]))
    assert sampling.trim(two).images.shape[:2] == (2, 2)
    assert sampling.trim(two).tokens.shape == (2, 57)
    assert sampling.trim(two, 64).words.sum() == two.words.sum()


def test_padding_repeats_a_sample():
    given = backends.batch("pi0_tiny", 1).pad(3)
    assert len(given) == 3
    assert np.array_equal(given.noise[2], given.noise[0])
    assert given.pad(2) is given


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 2), (3, 4), (5, 6), (6, 6)])
def test_buckets(size, expected):
    assert sampling.bucket(size, sampling.batch_buckets(6)) == expected
    assert sampling.prompt_buckets(200) == (16, 32, 48, 200)
    assert sampling.prompt_buckets(48) == (16, 32, 48)
    with pytest.raises(ValueError, match="7 is more than 6"):
        sampling.bucket(7, sampling.batch_buckets(6))
