"""docs/quantization.md has the variables that there are."""

import pathlib

from pirig.quantization.variables import TABLE

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/quantization.md"


def test_the_document_has_every_variable_as_the_table_has_it():
    rows = []
    for name, row in TABLE.items():
        here = "starts quantization" if row.starts else f"refused: {row.refused}" if row.refused else "used"
        rows.append(f"| `{name}` | {row.meaning} | {here} |")
    assert [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")] == rows
