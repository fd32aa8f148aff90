"""Defaults of suite, policy, trials and folders: launch/settings.py has them for Python, .env for everything else."""

import ast
import os
import pathlib
import re
import subprocess

import pytest

from pirig.launch import settings

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "src/pirig"
NAMES = ("SUITE", "POLICY", "TRIALS")
ENV = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if re.match(r"\w+=", line))
FOLDERS = (str(settings.RESULTS), str(settings.VIDEOS))
WORDS = (settings.SUITE, settings.RECIPE)
TABLES = {"launch/estimate.py", "launch/calibration.py"}  # rows of suites


def test_both_places_agree():
    assert [ENV[name] for name in NAMES] == [settings.SUITE, settings.RECIPE, str(settings.TRIALS)]


def literals(text):
    """(name of the field or None, value) of each constant of a Python file that is no docstring."""
    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    fields = {
        id(constant): node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
        for constant in ast.walk(node.value)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield fields.get(id(node)), node.value


def defaults(place, text):
    """The literals at `place` that are a default once more."""
    for field, value in literals(text):
        is_folder = isinstance(value, str) and value.startswith(FOLDERS)
        is_word = value in WORDS and place.startswith(("cli/", "launch/")) and place not in TABLES
        if is_folder or is_word or (field and "trials" in field and value == settings.TRIALS):
            yield value


@pytest.mark.parametrize("place", sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")))
def test_no_module_has_a_default_of_its_own(place):
    found = list(defaults(place, (SOURCE / place).read_text()))
    assert found == ([*WORDS, *FOLDERS] if place == "launch/settings.py" else [])


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n    num_trials: int = 50",
        'x = "pi05_libero"',
        'x: Path = Path("results/libero")',
        "f('data/libero/videos/a')",
    ],
)
def test_a_second_default_in_python_is_found(text):
    assert list(defaults("cli/eval.py", text))


NAME = r"(?:SUITE|TASK_SUITE|POLICY|POLICY_CONFIG|TRIALS|NUM_TRIALS|RESULTS|VIDEOS)"
VALUE = "|".join(map(re.escape, (*WORDS, *FOLDERS)))
ELSEWHERE = re.compile(
    rf"\$\{{{NAME}:?[-=][^}}]"  # ${SUITE:-libero_goal}, of shells and compose
    rf"|(?:[:?+]=|[:?]-)\s*[\"']?(?:{VALUE})"  # ${ANY:-libero_spatial}, ANY ?= libero_spatial
    rf"|^\s*{NAME}\s*[?:]=\s*\S"  # SUITE ?= libero_goal, of make
    rf"|^\s*{NAME}\s*=\s*[^\s$]\S*$"  # SUITE=libero_goal, as a line of its own
    rf"|^\s*{NAME}:\s*\S",  # SUITE: libero_goal, in YAML
    re.M,
)


def second_defaults(text):
    return [found[0] for found in ELSEWHERE.finditer(text)]


def test_no_other_file_has_a_default_of_its_own():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    files = [name for name in names if re.search(r"\.(sh|ya?ml)$|(^|/)(Makefile|Dockerfile|run)$", name)]
    assert {"Makefile", "compose.yml", "scripts/stack.sh", "examples/libero/run_headless_eval.sh", ".ci/run"} <= {
        *files
    }
    files.append("src/pirig/stack/fanout.py")
    found = {name: second_defaults((ROOT / name).read_text()) for name in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "SUITE   ?= libero_spatial",
        "export TRIALS=${TRIALS:-50}",
        "policy=${POLICY:-scripted}",
        '--args.task-suite-name "${TASK_SUITE:-libero_goal}"',
        "envs:\n  TRIALS: 50",
        "set=${ANYTHING:-results/libero}",
        "TRIALS := 50",
        "POLICY=scripted\nexport POLICY",
    ],
)
def test_a_second_default_elsewhere_is_found(text):
    assert second_defaults(text)


@pytest.mark.parametrize(
    "text", ["${POLICY:-}", "SUITE=libero_10 make eval", "${SUITE:?unset it}", "POLICY=$POLICY needs one"]
)
def test_what_only_passes_a_value_on_is_none(text):
    assert not second_defaults(text)


def environment(**variables):
    return {
        name: value for name, value in os.environ.items() if name not in NAMES and not name.startswith("MAKE")
    } | variables


def of_make(*words, **variables):
    """SUITE, POLICY and TRIALS as make has them."""
    show = "--eval=show: ; @echo $(SUITE) $(POLICY) $(TRIALS)"
    env = environment(**variables)
    found = subprocess.run(
        ["make", "-s", show, "show", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return found.stdout.split()


def of_a_script(**variables):
    lines = '. scripts/defaults.sh; bash -c \'echo "$SUITE" "$POLICY" "$TRIALS"\''
    found = subprocess.run(
        ["bash", "-eu", "-c", lines], cwd=ROOT, env=environment(**variables), capture_output=True, text=True
    )
    return found.stdout.split()


def test_make_and_scripts_take_what_the_caller_says_and_the_rest_from_env():
    rest = [ENV["SUITE"], ENV["POLICY"], ENV["TRIALS"]]
    assert of_make() == of_a_script() == rest
    assert of_make(TRIALS="3") == of_a_script(TRIALS="3") == [*rest[:2], "3"]
    assert of_make("SUITE=libero_10", SUITE="libero_goal", POLICY="zero") == ["libero_10", "zero", rest[2]]
    assert of_a_script(POLICY="") == rest
