"""LIBERO's initial states are the only pickles that are read: as arrays, whatever else stands in them."""

import os
import pickle
import random
import zipfile

import numpy as np
import pytest

from pirig.errors import ConfigError
from pirig.sim import suites
from support.damage import damaged, some_edits

STATES = np.arange(6.0).reshape(2, 3)


def archive(folder, data):
    path = folder / "states.pruned_init"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
    return path


class Evil:
    def __init__(self, what, *words):
        self.call = what, words

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "exit 7"),
        Evil(eval, "1"),
        Evil(getattr, "", "join"),
        Evil(np.load, "x"),
        Evil(bytearray, 1 << 40),
    ],
    ids=lambda evil: evil.call[0].__name__,
)
def test_code_in_a_states_file_is_not_run(tmp_path, evil):
    with pytest.raises(ConfigError, match=r"states.pruned_init cannot be read: .*must not load"):
        suites._read_states(archive(tmp_path, pickle.dumps(evil)))


def test_a_damaged_states_file_is_named(tmp_path):
    draw, whole = random.Random(0), pickle.dumps(STATES)
    assert np.array_equal(suites._read_states(archive(tmp_path, whole)), STATES)
    for number in range(300):
        path = archive(tmp_path, damaged(whole, some_edits(draw)))
        if number % 3 == 0:
            path.write_bytes(damaged(path.read_bytes(), some_edits(draw)))
        try:
            assert suites._read_states(path).dtype == np.float64
        except ConfigError as e:
            assert str(path) in str(e)
