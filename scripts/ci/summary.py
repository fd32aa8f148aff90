"""Prints what a run of .ci/run did, from the folder of its logs: steps with their budgets, slow tests, and skips.

    python scripts/ci/summary.py FOLDER

FOLDER has `steps`, a line `NAME<tab>SECONDS<tab>CPU SECONDS<tab>EXIT CODE` for each step, and a JUnit file `*.xml` for
each of pytest's runs. A step that takes more than its budget is a warning. A skip for another reason than those of
ALLOWED is an error, so that no test is left out for want of a package: exit code 1.
"""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

ALLOWED = ("needs a GPU", "needs a cloud")
SLOWEST = 20
BUDGETS = pathlib.Path(__file__).parents[2] / ".ci/budgets"


def main(folder: pathlib.Path) -> int:
    cases = [case for file in sorted(folder.glob("*.xml")) for case in ElementTree.parse(file).iter("testcase")]
    print_steps((folder / "steps").read_text().splitlines())
    print_slowest(cases)
    return print_skips(cases)


def print_steps(lines: list[str]) -> None:
    budgets = dict(line.split("\t") for line in BUDGETS.read_text().splitlines() if line and line[0] != "#")
    rows = [("step", "seconds", "budget", "CPU seconds", "")]
    for name, seconds, cpu, code in (line.split("\t") for line in lines):
        budget = budgets.get(name, "")
        is_late = not budget or int(seconds) > int(budget)
        complaint = f"FAILED with {code}" if code != "0" else "WARNING: over its budget" if is_late else ""
        rows.append((name, seconds, budget or "none", cpu, complaint))
    print_table("steps", rows)


def print_slowest(cases: list[ElementTree.Element]) -> None:
    slowest = sorted(cases, key=lambda case: -seconds(case))[:SLOWEST]
    print_table("slowest tests [s]", [(f"{seconds(case):.1f}", test(case)) for case in slowest])


def print_skips(cases: list[ElementTree.Element]) -> int:
    """Returns the exit code."""
    skips = [(test(case), skip.get("message", "")) for case in cases for skip in case.iter("skipped")]
    rows = [(name, reason, "" if reason.startswith(ALLOWED) else "NOT ALLOWED in CI") for name, reason in skips]
    print_table(f"{len(cases)} tests, of which {len(skips)} were skipped", rows)
    refused = [row for row in rows if row[2]]
    if refused:
        print(f"error: {len(refused)} tests were skipped for want of something that CI has to install")
    return 1 if refused else 0


def seconds(case: ElementTree.Element) -> float:
    return float(case.get("time", "0"))


def test(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}.{case.get('name')}"


def print_table(title: str, rows: Sequence[Sequence[str]]) -> None:
    print(f"\n== {title}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
