"""An error keeps its class, exit code and message on the way to another process."""

import inspect
import json
import socket

import pytest

from pirig import errors
from pirig.checkpoints.transfer import Transient
from pirig.errors import DamagedFile, MissingExtra, PeerError, PirigError, UnusableResource, from_wire, to_wire
from pirig.results.store import RunStore
from pirig.serving.client import RemotePolicy

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PirigError)]


@pytest.mark.parametrize("kind", TREE)
def test_an_error_crosses_processes_as_what_it_is(kind):
    error = kind("scipy", "scipy") if kind is MissingExtra else kind("no such file")
    back = from_wire(*json.loads(json.dumps(to_wire(error))))
    assert (type(back), str(back), back.exit_code) == (kind, str(error), error.exit_code)


def test_a_class_of_another_module_becomes_the_one_of_the_tree_that_it_is_made_of():
    assert type(from_wire(*to_wire(Transient("cut")))) is PeerError


@pytest.mark.parametrize("kind", TREE)
def test_the_tree_in_the_docstring_is_the_tree_of_the_classes(kind):
    """Its indentation is its depth, its number the exit code."""
    depth = len([base for base in kind.__mro__ if issubclass(base, PirigError)]) - 1
    row = next(line for line in errors.__doc__.splitlines() if line.split()[:1] == [kind.__name__])
    assert len(row) - len(row.lstrip()) == 4 + 2 * depth
    assert row.split()[1] == str(kind.exit_code)


def damaged(folder):
    (folder / "manifest.json").write_text("{")
    RunStore.read(folder)


def unwritable(folder):
    (folder / "file").touch()
    RunStore.open(folder / "file" / "run", {})


def nobody(folder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        RemotePolicy("127.0.0.1", unused.getsockname()[1], connect_timeout_s=0.1)


@pytest.mark.parametrize(
    ("wrong", "kind"), [(damaged, DamagedFile), (unwritable, UnusableResource), (nobody, PeerError)]
)
def test_the_class_says_whose_it_is(tmp_path, wrong, kind):
    with pytest.raises(kind):
        wrong(tmp_path)
