"""What pages say of the code, the code says too: error texts, constants, variables, commands, the published row."""

import ast
import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from pirig import envvars
from pirig.cli.eval import EvalArgs
from pirig.launch.settings import recorded
from pirig.policies.baselines import NAMES
from pirig.policies.recipes import RECIPES
from pirig.results.statistics.published import PUBLISHED, PUBLISHED_AVERAGE
from pirig.sim import suites
from support.markdown import CHINESE, README, ROOT, headings, prose

DOCS = ROOT / "docs"
GAP = "…"


def templates(text: str) -> list[str]:
    """The strings of a Python file as a reader meets them: adjacent ones joined, GAP for each value in them."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(p.value if isinstance(p, ast.Constant) else GAP for p in node.values))  # ty: ignore
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def sources() -> list[str]:
    found = [text for path in sorted((ROOT / "src").rglob("*.py")) for text in templates(path.read_text())]
    shell = [*(ROOT / "scripts").rglob("*.sh"), *(ROOT / "examples").rglob("*.sh"), *(ROOT / "docker").glob("*.sh")]
    return found + [re.sub(r"\$\{[^}]*\}|\$\([^)]*\)|\$\w+", GAP, path.read_text()) for path in sorted(shell)]


def literal_texts() -> list[tuple[str, str]]:
    """(error text, package that says it) of the troubleshooting page; no package: pirig says it."""
    page = (DOCS / "troubleshooting.md").read_text()
    found = re.findall(r"^### `(.+)`$(?:\n\n<!-- said by: ([\w-]+) -->)?", page, re.M)
    assert len(found) == len(re.findall(r"^### ", page, re.M))
    return found


@pytest.fixture(scope="module")
def ours():
    return sources()


@pytest.mark.parametrize(("text", "package"), literal_texts(), ids=lambda value: value[:40])
def test_an_error_text_is_one_that_is_said(text, package, ours):
    if not package:
        assert any(text in template for template in ours), f"nothing in src, scripts, examples or docker says {text!r}"
        return
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    files = [f for folder in spec.submodule_search_locations for f in pathlib.Path(folder).rglob("*.py")]
    assert any(text in file.read_text(errors="replace") for file in files), f"{package} does not say {text!r}"


def table(page: pathlib.Path, first: str) -> dict[str, str]:
    """First cell -> second, of the table whose head begins with `first`."""
    lines = page.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0].strip("`")] = cells[1].strip("`")
    return rows


def test_constants_of_the_protocol_are_those_of_the_code():
    defaults = recorded(EvalArgs())
    said = table(DOCS / "evaluation-protocol.md", "flag")
    assert len(said) >= 6
    for flag, value in said.items():
        found = defaults[flag.removeprefix("--").replace("-", "_")]
        assert value == str(found if found is not None else suites.rules("libero_10").replan_steps), flag


def test_step_limits_are_those_of_the_code():
    said = table(DOCS / "evaluation-protocol.md", "suite")
    assert {name.strip("`"): int(steps) for name, steps in said.items()} == dict(suites.MAX_STEPS)


def test_every_variable_and_command_has_its_row():
    page = DOCS / "reference.md"
    help_of_all = subprocess.check_output([sys.executable, "-m", "pirig.cli.main", "--help"], text=True)
    there = {f"pirig {name}" for name in re.findall(r"^  ([a-z]+) +\w", help_of_all, re.M) if name != "pirig"}
    variables = {variable.name for variable in envvars.TABLE}
    for first, names in (("variable", variables), ("command", there)):
        rows = set(table(page, first))
        assert rows == names, f"{page.name} lacks rows of {sorted(names - rows)}, and has {sorted(rows - names)}"
    said = " ".join(table(page, "policy"))
    assert all(name in said for name in (*NAMES, *RECIPES))


@pytest.mark.parametrize("page", [README, CHINESE, DOCS / "reproduce.md"], ids=lambda page: page.name)
def test_the_published_row_is_the_one_that_reports_compare_with(page):
    row = [f"{PUBLISHED[suite]:.1f}" for suite in suites.STANDARD_SUITES] + [f"{PUBLISHED_AVERAGE:g}"]
    assert re.search(r"\|\s*" + r"\s*\|\s*".join(map(re.escape, row)) + r"\s*\|", prose(page))


def test_a_policy_server_takes_thirty_lines_and_nothing_of_pirig():
    text = (ROOT / "examples/policy_server.py").read_text()
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {getattr(node, "module", "") or node.names[0].name for node in nodes}
    assert imported == {"asyncio", "msgpack", "numpy", "websockets.asyncio.server"}
    assert len([line for line in text.splitlines()[1:] if line.strip()]) <= 30


def test_troubleshooting_finds_a_text_once():
    words = [words for level, words in headings(DOCS / "troubleshooting.md") if level == 3]
    assert len(words) == len(set(words)) >= 25
