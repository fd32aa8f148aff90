"""A plugin: prints what became of the rows at the end of the session, and writes it as JSON with --faults-out."""

import dataclasses
import json
import pathlib

from faults.fault import Outcome

_COLUMNS = ("scene", "role", "phase", "fault", "outcome", "lost", "miscounted", "recover_s")


def pytest_addoption(parser):
    parser.addoption("--faults-out", default="", help="JSON file for the table of tests/faults")


def pytest_terminal_summary(terminalreporter, config):
    found = [value for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
             for name, value in getattr(report, "user_properties", ()) if name == "fault"]  # fmt: skip
    if not found:
        return
    rows = [_row(Outcome(**one)) for one in sorted(found, key=lambda one: [one[key] for key in _COLUMNS[:4]])]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    terminalreporter.section(f"fault matrix: {len(rows)} rows")
    for row in (_COLUMNS, *rows):
        terminalreporter.write_line(
            "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        )
    if path := config.getoption("--faults-out"):
        pathlib.Path(path).write_text(json.dumps(found, indent=1) + "\n")


def _row(found: Outcome) -> tuple[str, ...]:
    said = dataclasses.asdict(found) | {"recover_s": f"{found.recover_s:.1f}"}
    return tuple(str(said[name]) for name in _COLUMNS)
