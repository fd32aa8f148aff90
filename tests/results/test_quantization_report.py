"""What a report says of quantization is what the policy said, and a policy that said nothing has none."""

import json
import pathlib

import pytest

from pirig.cli import main
from pirig.results import conclusion, quantization, tables
from pirig.results.comparison import compare
from pirig.results.page import run
from pirig.results.page.provenance import beside
from pirig.results.report import make_report
from pirig.results.store import RunStore
from support.json_schema import faults
from support.page_text import parse
from support.recorded_runs import make_run, quantized

SCHEMA = json.loads((pathlib.Path(__file__).parents[2] / "docs/schema/report-1.json").read_text())


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Of a float policy and of the same one in W4A8."""
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in {"float": {}, "w4a8": {"policy_metadata": quantized()}}.items():
        make_run(folder / name, tasks=2, trials=5, **changes)
    return {name: RunStore.read(folder / name) for name in ("float", "w4a8")}


def test_the_page_says_what_was_replaced_and_what_it_cost(stores):
    shown = parse(run.page(make_report(stores["w4a8"]))).one("section", id="quantization")
    for words in (
        "w4a8",
        "252 expected, 252 matched, 252 replaced",
        "4.27 GB before, 1.07 GB after (25 %)",
        "int_mm",
        "32 observations, 2e2e2e2e2e2e2e2e",
        "0.40 %",
    ):
        assert words in shown.text, words
    labels = [svg.attributes["aria-label"] for svg in shown.find("svg", class_="chart")]
    assert "gemma_expert v_proj: mean error 0.70 %, from 0.70 % to 0.70 %" in labels
    assert len(labels) == 14  # seven kinds in each decoder


def test_a_run_without_quantization_says_nothing_of_it(stores):
    report = make_report(stores["float"])
    text = run.page(report).split("</style>")[1]
    assert "uantiz" not in text + tables.json_text(report) + tables.markdown(report)


def test_the_json_is_what_the_schema_says(stores):
    document = json.loads(tables.json_text(make_report(stores["w4a8"])))
    assert list(faults(document, SCHEMA)) == []
    assert document["quantization"]["layers"] == {"expected": 252, "matched": 252, "replaced": 252}
    del document["quantization"]["layers"]["replaced"]
    assert len(list(faults(document, SCHEMA))) == 1


def test_the_markdown_has_it_in_a_line(stores):
    assert "Quantized: w4a8 (duquant), 252 of 252 layers, 4.27 GB of weights in 1.07 GB, kernel int_mm" in (
        tables.markdown(make_report(stores["w4a8"]))
    )


@pytest.mark.parametrize("said", [None, "int8", {"name": "w4a8"}, 8])
def test_what_another_server_calls_quantization_is_no_evidence(said):
    assert quantization.of_run({"policy_metadata": {"quantization": said}}) is None


def test_a_comparison_says_that_the_policies_differ_by_quantization(stores):
    found = compare([stores["float"]], [stores["w4a8"]])
    (note,) = found.notes
    assert note.startswith("the policies differ by quantization, of the same checkpoint. A: not quantized. B: w4a8")
    assert conclusion.to_json(found, level=0.05, margin=None)["notes"] == [note]
    assert compare([stores["w4a8"]], [stores["w4a8"]]).notes == ()


def test_the_page_of_a_comparison_says_it_too(stores, tmp_path):
    sides = (str(stores[name].directory) for name in ("float", "w4a8"))
    main.run(["compare", *sides, "--out", str(tmp_path / "page.html")])
    page = parse((tmp_path / "page.html").read_text())
    assert "The policies differ by quantization" in page.one("section", id="headline").text


def test_another_checkpoint_is_told_too(stores):
    other = {"policy_metadata": quantized() | {"checkpoint": "another"}}
    assert "and the checkpoints differ too" in quantization.difference(stores["float"].configuration, other)


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["a.layers.0.q_proj", "a.layers.11.q_proj", "a.layers.1.k_proj"], {"q_proj", "k_proj"}),
        (["a.one.layers.0.q_proj", "a.two.layers.0.q_proj"], {"one q_proj", "two q_proj"}),
        (["head"], {"head"}),
    ],
)
def test_layers_are_of_one_kind_where_only_their_number_differs(names, kinds):
    said = quantized()
    said["quantization"]["error"]["by_layer"] = dict.fromkeys(names, 0.01)
    found = quantization.of_run({"policy_metadata": said})
    assert set(found.by_kind) == kinds
    assert sum(map(len, found.by_kind.values())) == len(names)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (2_620_000_000, "2.62 GB"), (5e12, "5e+03 GB")]
)
def test_sizes_are_short(count, text):
    assert quantization.size(count) == text


def test_side_by_side_the_layers_errors_are_one_line(stores):
    table = parse(beside(stores["float"].manifest, stores["w4a8"].manifest))
    names = [head.text for head in table.find("th", scope="row")]
    assert [name for name in names if "by layer" in name] == [
        "≠ configuration policy metadata quantization error by layer"
    ]
    assert "252 entries, " in table.text
