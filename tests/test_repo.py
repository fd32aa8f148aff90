"""What is true of the repository as a whole."""

import importlib.metadata
import pathlib
import re
import subprocess

from packaging.requirements import Requirement

from pirig import envvars

ROOT = pathlib.Path(__file__).parents[1]


def tracked():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    return [ROOT / name.decode() for name in names if name]


def test_make_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == {line.split()[0] for line in listed.splitlines() if not line.startswith("  variables")}


def test_lock_files_have_versions_and_hashes_and_no_address():
    for path in (ROOT / "locks").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text and "--index" not in text, path
        assert text.count("==") == len(re.findall(r"^[a-z]", text, re.M)) and "--hash=sha256:" in text, path


def test_the_lock_files_hold_all_that_pirig_itself_needs():
    """What LIBERO's packages declare is left out on purpose; what ours need must be there."""
    seen, todo = set(), ["pirig", "pytest", "hypothesis", "pytest-xdist"]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for requirement in map(Requirement, importlib.metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert importlib.metadata.version(requirement.name) in requirement.specifier, (name, requirement)
                todo.append(requirement.name)
    assert {"numpy", "typeguard", "iniconfig"} <= seen


def test_no_file_names_a_package_index_or_this_machine():
    index = re.compile(r"https?://[^\s/]*/(?:simple|debian|npm)(?:/|\b)")
    for path in tracked():
        if path.is_file() and path.suffix not in (".npz", ".msgpack"):
            text = path.read_text()
            assert not index.search(text), path
            assert str(ROOT.parent) + "/" not in text or str(ROOT.parent) == "/", path


def test_no_tracked_file_is_large():
    assert [path for path in tracked() if path.is_file() and path.stat().st_size > 1_000_000] == []


def test_each_variable_is_explained_once():
    names = [variable.name for variable in envvars.TABLE]
    assert len(names) == len(set(names)) and all(variable.meaning for variable in envvars.TABLE)
