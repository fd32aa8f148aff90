"""What is true of the repository as a whole."""

import ast
import importlib.metadata
import pathlib
import re
import subprocess

import pytest
from packaging.requirements import Requirement

from pirig import envvars

ROOT = pathlib.Path(__file__).parents[1]


def tracked():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    return [ROOT / name.decode() for name in names if name]


def test_make_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.M))
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=1) for line in listed.splitlines() if not line.startswith("  variables")]
    assert targets == {target for target, meaning in lines if meaning}
    rules = subprocess.run(["make", "-npq", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert targets == set(re.search(r"^\.PHONY: (.*)$", rules, re.M)[1].split())


def test_a_mode_that_does_not_exist_is_refused():
    found = subprocess.run(["make", "-n", "eval", "MODE=dokcer"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 2
    assert "eval-dokcer" in found.stderr


def test_lock_files_have_versions_and_hashes_and_no_address():
    for path in (ROOT / "locks").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path
        assert "--index" not in text, path
        assert len(re.findall(r"^[a-z][^ ;]*==", text, re.M)) == len(re.findall(r"^[a-z]", text, re.M)), path
        assert "--hash=sha256:" in text, path


def test_the_lock_files_hold_all_that_pirig_itself_needs():
    """What LIBERO's packages declare is left out on purpose; what ours need must be there."""
    models = ["jax", "torch", "ml_dtypes", "tensorstore", "safetensors", "obstore"]
    seen, todo = set(), ["pirig", "pytest", "hypothesis", "pytest-xdist", *models]
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


EVERYWHERE = {"//", "/home/", "/mnt/", "/opt/", "/srv/", "/tmp/", "/usr/src/"}
"""Folders of every machine: a checkout may lie in one, and files name them for other reasons."""


def test_no_file_names_a_package_index_or_this_machine():
    index = re.compile(rb"https?://[^\s\"'`]*/(?:simple|debian|npm)\b")
    folders = {str(path) + "/" for path in (ROOT, ROOT.parent, pathlib.Path.home())} - EVERYWHERE
    machine = re.compile("|".join(map(re.escape, folders)).encode())
    for path in tracked():
        data = path.read_bytes() if path.is_file() else b""
        assert not index.search(data), path
        assert not machine.search(data), path


def test_git_ignores_no_module_and_no_test():
    ignored = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", "src/*.py", "tests/*.py"]
    assert subprocess.run(ignored, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""


def test_no_tracked_file_is_large():
    assert [path for path in tracked() if path.is_file() and path.stat().st_size > 1_000_000] == []


def test_each_variable_is_explained_once():
    names = [variable.name for variable in envvars.TABLE]
    assert len(names) == len(set(names))
    assert all(variable.meaning.strip() for variable in envvars.TABLE)


RUNS_DATA = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
RESTRICTED = {("src/pirig/sim/suites.py", "pickle")}  # LIBERO's initial states, by an unpickler that builds arrays only


def ways_to_run_data(tree):
    """Names of what in a syntax tree could make code of data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name.split(".")[0] for name in names if name.split(".")[0] in RUNS_DATA)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in ("eval", "exec", "torch.load", "yaml.load", "os.system", "pickle.load", "pickle.loads"):
                yield called
            yield from (name for name in ("allow_pickle", "shell") if said.get(name, "False") != "False")


@pytest.mark.parametrize("line", ["import pickle", "from dill import x", "torch.load(f)", "load(f, allow_pickle=True)"])
def test_a_way_to_run_data_is_seen(line):
    assert list(ways_to_run_data(ast.parse(line)))


def test_no_data_is_run_as_code():
    """What processes of ours tell each other through `multiprocessing` is pickled, and comes from nobody else."""
    found = set()
    for path in tracked():
        place = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and not place.startswith("tests/") and path.is_file():
            found |= {(place, name) for name in ways_to_run_data(ast.parse(path.read_text()))}
    assert found == RESTRICTED
