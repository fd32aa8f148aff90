"""Render the section on quantization: proof of it, the layers, and the error of each kind of layer."""

from pirig.results.page import charts
from pirig.results.page.html import Html, element, section
from pirig.results.page.provenance import tree
from pirig.results.quantization import Quantization, size
from pirig.results.report import Report

_WORST = 5
_COLUMNS = ("name", "plot", "n", "n ci", "n")


def quantization(report: Report) -> Html | None:
    """Return the section, or None for a policy that is not quantized."""
    found = report.quantization
    if not found:
        return None
    note = (
        "As the policy counted it in its own model. Errors: of a layer's output by the rounding of its weights, "
        "squared, relative to the output, on the observations of the calibration."
    )
    errors = (_kinds(found), _worst(found)) if found.errors else ()
    chosen = element("details", element("summary", "configuration"), tree(found.configuration))
    return section("quantization", "Quantization", _facts(found), *errors, chosen, note=note)


def _facts(found: Quantization) -> Html:
    bits = ", ".join(f"{count} layers in {bits} bits" for bits, count in found.weight_bits.items())
    activations = f"{found.activation_bits} bits" if found.activation_bits < 16 else "as they are"
    said = {
        "bits": found.name,
        "method": found.method,
        "layers": ", ".join(f"{count} {what}" for what, count in found.layers.items()),
        "weights": bits,
        "activations": activations,
        "size": f"{size(found.bytes_before)} before, {size(found.bytes_after)} after "
        f"({100 * found.bytes_after / max(1, found.bytes_before):.0f} %)",
        "kernel": found.kernel,
        "calibration": _calibration(found),
        "mean error of a layer": _percent(found.mean_error),
        "pack": found.pack[:16],
    }
    rows = [element("div", element("dt", what), element("dd", text)) for what, text in said.items()]
    return element("dl", *rows, class_="facts")


def _calibration(found: Quantization) -> str:
    if not found.calibration:
        return "none"
    content = str(found.calibration.get("sha256", ""))[:16]
    return f"{found.calibration.get('samples', '?')} observations, {content}"


def _kinds(found: Quantization) -> Html:
    """Render a row for each kind of layer: mean, smallest and largest error."""
    axis = charts.percent_axis(max(found.errors.values()))
    heads = ("kind of layer", charts.scale(axis), "mean", "least – most", "layers")
    head = element("tr", *(element("th", h, scope="col", class_=c) for h, c in zip(heads, _COLUMNS, strict=True)))
    rows = []
    for kind, errors in found.by_kind.items():
        mean, bounds = sum(errors) / len(errors), (min(errors), max(errors))
        limits = " – ".join(f"{100 * bound:.2f}" for bound in bounds)
        label = f"{kind}: mean error {_percent(mean)}, from {_percent(bounds[0])} to {_percent(bounds[1])}"
        cells = (
            element("td", charts.rate_strip(mean, bounds, axis, label), class_="plot"),
            element("td", f"{100 * mean:.2f}", class_="n rate"),
            element("td", limits, class_="n ci"),
            element("td", str(len(errors)), class_="n of"),
        )
        rows.append(element("tr", element("th", kind, scope="row", class_="name"), *cells))
    return element("table", element("thead", head), element("tbody", *rows), class_="tasks")


def _worst(found: Quantization) -> Html:
    rows = [element("div", f"{name}: {_percent(error)}") for name, error in found.worst[:_WORST]]
    return element("dl", element("dt", "largest errors"), element("dd", *rows), class_="tree")


def _percent(error: float) -> str:
    return f"{100 * error:.2f} %"
