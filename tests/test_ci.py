"""What .ci/run prints at its end, and what it refuses."""

import pathlib
import re
import subprocess
import sys

import pytest

from support import scheduling

ROOT = pathlib.Path(__file__).parents[1]
SUMMARY = ROOT / "scripts/ci/summary.py"
BUDGETS = dict(line.split("\t") for line in (ROOT / ".ci/budgets").read_text().splitlines() if line[:1] not in "#")
CASES = """<testsuites><testsuite>
<testcase classname="serving.test_host" name="test_fast" time="0.010"/>
<testcase classname="sim.test_fast" name="test_slow" time="12.500"/>
<testcase classname="models.test_cuda" name="test_skipped" time="0.0"><skipped message="REASON"/></testcase>
</testsuite></testsuites>"""


def summary(folder, *, steps="set-up\t1\t2\t0\n", reason="needs a GPU"):
    (folder / "steps").write_text(steps)
    (folder / "test.xml").write_text(CASES.replace("REASON", reason))
    return subprocess.run([sys.executable, SUMMARY, folder], capture_output=True, text=True)


def test_a_step_beyond_its_budget_is_a_warning(tmp_path):
    done = summary(tmp_path, steps=f"set-up\t{int(BUDGETS['set-up']) + 1}\t9\t0\nlint\t1\t2\t0\n")
    assert re.search(r"^set-up +\d+ +\d+ +9 +WARNING: over its budget$", done.stdout, re.M)
    assert re.search(r"^lint +1 +\d+ +2$", done.stdout, re.M)
    assert done.returncode == 0


def test_a_step_that_failed_is_named(tmp_path):
    done = summary(tmp_path, steps="lint\t3\t1\t2\n")
    assert re.search(r"^lint +3 +\d+ +1 +FAILED with 2$", done.stdout, re.M)


def test_the_slowest_tests_come_first(tmp_path):
    lines = summary(tmp_path).stdout.splitlines()
    assert lines.index("12.5  sim.test_fast.test_slow") < lines.index("0.0   serving.test_host.test_fast")


@pytest.mark.parametrize("reason", ["needs a GPU", "needs a cloud account"])
def test_a_skip_that_ci_cannot_help_is_listed(tmp_path, reason):
    done = summary(tmp_path, reason=reason)
    assert f"models.test_cuda.test_skipped  {reason}" in done.stdout
    assert done.returncode == 0


def test_a_skip_for_want_of_a_package_fails_the_run(tmp_path):
    done = summary(tmp_path, reason="could not import 'wandb'")
    assert "could not import 'wandb'  NOT ALLOWED in CI" in done.stdout
    assert done.returncode == 1


def test_the_files_that_take_longest_are_there():
    """One that was renamed would be run last, and by `make test-quick`."""
    assert [file for file in scheduling.LONG if not (ROOT / file).exists()] == []


def test_every_step_has_a_budget():
    steps = re.findall(r'^(?:step|background) "([^"]+)"', (ROOT / ".ci/run").read_text(), re.M)
    assert len(steps) > 15
    assert sorted(steps) == sorted(BUDGETS)
