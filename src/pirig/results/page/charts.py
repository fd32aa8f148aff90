"""Draw charts as inline SVG.

Horizontal coordinates are percentages and vertical coordinates are pixels, so that text keeps its size at any width.

Law 1: Each chart is an image with a label that describes what it shows.
Law 2: Colours are defined in the stylesheet, and nothing is expressed by colour alone.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from pirig.results.page.html import Html, element, join
from pirig.results.statistics.tally import wilson
from pirig.types import Status

_MARGIN = 2.5  # [%] at both ends, so that a mark at an end is not cut off
_POINTS = 240  # points of a line; more would not be visible


@dataclasses.dataclass(frozen=True)
class Axis:
    """An `Axis` maps values to positions, horizontally or vertically."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def x(self, value: float) -> str:
        return _x(self.share(value))


def rate_axis(lows: Iterable[float]) -> Axis:
    """Return an axis from the multiple of 10 % at or below the lowest value to 100 %."""
    low = min(math.floor(10 * min(lows, default=0.0) + 1e-9) / 10, 0.9)
    width = next(w for w in (2, 5, 10, 20, 25) if (1 - low) * 100 / w <= 5)
    first = math.ceil(100 * low / width - 1e-9)
    return Axis(low, 1.0, tuple(i * width / 100 for i in range(first, 100 // width + 1)))


def difference_axis(bounds: Iterable[tuple[float, float]], marks: Iterable[float] = ()) -> Axis:
    """Return an axis with round ends that contains all intervals, 0 and `marks`.

    `bounds` contains at least one interval.
    """
    ends = [0.0, *marks, *(end for pair in bounds for end in pair)]
    width = next(w for w in (1, 2, 5, 10, 20, 50, 100) if (max(ends) - min(ends)) * 100 / w <= 5 or w == 100)
    first, last = (round_(100 * end / width) for round_, end in ((math.floor, min(ends)), (math.ceil, max(ends))))
    last = max(last, first + 1)
    return Axis(first * width / 100, last * width / 100, tuple(i * width / 100 for i in range(first, last + 1)))


def percent_axis(high: float) -> Axis:
    """Return an axis from 0 to the round number at or above `high`."""
    width = next(w for w in (1, 2, 5, 10, 20, 50, 100, 10_000) if 100 * high / w <= 5)
    last = max(1, math.ceil(100 * high / width - 1e-9))
    return Axis(0.0, last * width / 100, tuple(i * width / 100 for i in range(last + 1)))


def scale(axis: Axis, unit: str = " %", *, signed: bool = False) -> Html:
    """Draw the labels of the ticks, for the head of a column of strips; the last one includes the unit."""
    names = [element("text", _tick(tick, signed) + unit * (tick == axis.ticks[-1]), x=axis.x(tick), y=13,
                     class_="end" if axis.share(tick) > 0.96 else "middle") for tick in axis.ticks]  # fmt: skip
    return element("svg", *names, class_="scale", height=18, width="100%", aria_hidden="true")


def rate_strip(
    rate: float,
    bounds: tuple[float, float],
    axis: Axis,
    label: str,
    *,
    mark: float | None = None,
    lines: Mapping[str, float] | None = None,
    height: int = 22,
) -> Html:
    """Draw a rate, or a difference, as a dot on its interval, over the axis' grid lines.

    `mark`: another rate, drawn as a diamond. `lines`: positions of further lines, by class. A NaN
    rate has no dot.
    """
    middle = height / 2
    parts = [element("title", label)]
    upright = [("grid", tick) for tick in axis.ticks] + list((lines or {}).items())
    parts += [element("line", x1=axis.x(t), x2=axis.x(t), y1=0, y2=height, class_=name) for name, t in upright]
    if not math.isnan(rate):
        left, right = axis.share(bounds[0]), axis.share(bounds[1])
        thick = height / 3
        parts.append(element("rect", x=_x(left), width=_width(right - left), y=middle - thick / 2, height=thick,
                             rx=thick / 2, class_="interval"))  # fmt: skip
        parts.append(element("circle", cx=axis.x(rate), cy=middle, r=height / 4.4, class_="rate"))
    if mark is not None:
        r = height / 4
        diamond = element("path", d=f"M0 {-r}L{r} 0L0 {r}L{-r} 0z", class_="mark")
        parts.append(element("svg", diamond, x=axis.x(mark), y=middle, overflow="visible"))
    return _image(label, height, *parts)


def trials(found: Sequence[tuple[str, Status | str]], label: str) -> Html:
    """Draw a tick for each trial, in order: high for failures and errors, low for the rest.

    `found`: name and status of each trial.
    """
    parts = [element("title", label)]
    pitch = 100 / max(25, len(found))
    for i, (name, status) in enumerate(found):
        height = 14 if status in ("failure", "error") else 5
        tick = {"x": f"{i * pitch:.3f}%", "y": 14 - height, "width": f"{pitch * 0.72:.3f}%", "height": height}
        if status == "success":
            parts.append(element("rect", **tick, class_=status))
        else:
            parts.append(
                Html(f"<g>{element('title', f'{name}: {status}')}{element('rect', **tick, class_=status)}</g>")
            )
    return _image(label, 14, *parts, class_="trials")


def pairs(found: Sequence[tuple[str, bool, bool]], label: str) -> Html:
    """Draw a mark for each pair, in order.

    The mark is a bar upwards if only B succeeds, a bar downwards if only A succeeds, and otherwise a dot on the line,
    which is filled if both succeed. `found`: name, success of A, success of B.
    """
    height, middle, parts = 22, 11, [element("title", label)]
    pitch = 100 / max(25, len(found))
    for i, (name, a, b) in enumerate(found):
        kind = "both" if a and b else "only-a" if a else "only-b" if b else "neither"
        top, tall = {"only-b": (0, middle - 1), "only-a": (middle + 1, middle - 1)}.get(kind, (middle - 1.5, 3))
        width = f"{pitch * 0.72:.3f}%"
        drawn = element("rect", x=f"{i * pitch:.3f}%", y=top, width=width, height=tall, class_=kind)
        said = {"only-a": "only A succeeds", "only-b": "only B succeeds"}.get(kind)
        parts.append(element("g", element("title", f"{name}: {said}"), drawn) if said else drawn)
    return _image(label, height, *parts, class_="trials")


def histogram(values: Sequence[int], limit: int, label: str, *, zero: bool = False) -> Html:
    """Draw how many of `values` fall into each interval.

    `values` has at least one value. `limit` is where the axis ends. `zero`: 0 is on the axis, marked by a line.
    """
    first, limit = (min(0, *values), max(0, limit)) if zero else (min(values), limit)
    width = next(w for w in (5, 10, 20, 25, 50, 100, 10_000) if (limit - first) / w <= 32)
    low = first // width * width
    bins = [0] * ((max(limit, max(values)) - low) // width + 1)
    for value in values:
        bins[(value - low) // width] += 1
    axis = Axis(low, low + width * len(bins), ())
    top, height, base = max(bins), 190, 160
    parts = [element("title", label)]
    for tick in _counts(top):
        y = base - 140 * tick / top
        parts += [
            element("line", x1="0%", x2="100%", y1=y, y2=y, class_="grid"),
            element("text", str(tick), x="0%", y=y - 4),
        ]
    for i, count in enumerate(bins):
        left, tall = low + i * width, 140 * count / top
        box = element("rect", x=axis.x(left + width * 0.06), y=base - tall, height=tall, rx=1.5,
                      width=_width(0.88 / len(bins)), class_="bar")  # fmt: skip
        said = _minus(f"{left} to {left + width - 1} steps: {count}")
        if count:
            parts.append(element("g", element("title", said), box))
    every = _every(axis.high - axis.low, width)
    for value in range(low + -low % every, int(axis.high) + 1, every):
        parts.append(element("text", _minus(str(value)), x=axis.x(value), y=base + 18, class_="middle"))
    parts.append(element("line", x1="0%", x2="100%", y1=base, y2=base, class_="base"))
    if zero:
        parts.append(element("line", x1=axis.x(0), x2=axis.x(0), y1=0, y2=base, class_="zero"))
    median = statistics.median(values)
    parts.append(element("line", x1=axis.x(median), x2=axis.x(median), y1=8, y2=base, class_="median"))
    side = "after" if axis.share(median) < 0.6 else "before"
    parts.append(element("text", _minus(f"median {median:g}"), x=axis.x(median), y=16, class_=f"strong {side}"))
    return _image(label, height, *parts)


def rate_over_time(successes: Sequence[bool], label: str, *, mark: float | None = None) -> Html:
    """Draw the success rate after each scored episode, with its interval.

    `successes` has at least one value.
    """
    counts = list(itertools.accumulate(successes))
    numbers = sorted({round(1 + i * (len(counts) - 1) / max(1, _POINTS - 1)) for i in range(_POINTS)})
    numbers = [n for n in numbers if n <= len(counts)]
    bounds = [wilson(counts[n - 1], n) for n in numbers]
    axis = rate_axis([bounds[-1][0] - 0.08, 1.0 if mark is None else mark])
    height, top, base = 200, 12, 170
    parts = [element("title", label)]
    up = {tick: base - (base - top) * axis.share(tick) for tick in axis.ticks if tick > axis.low}
    parts += [element("line", x1="0%", x2="100%", y1=y, y2=y, class_="grid") for y in up.values()]

    def point(n: int, rate: float) -> str:
        x, y = (n - 1) / max(1, len(counts) - 1), (axis.high - rate) / (axis.high - axis.low)
        return f"{1000 * x:.1f} {1000 * y:.1f}"

    band = [point(n, b[1]) for n, b in zip(numbers, bounds, strict=True)]
    band += [point(n, b[0]) for n, b in reversed(list(zip(numbers, bounds, strict=True)))]
    line = [point(n, counts[n - 1] / n) for n in numbers]
    drawing = join(
        element("path", d=f"M{'L'.join(band)}z", class_="band"),
        element("path", d=f"M{'L'.join(line)}", class_="line"),
    )
    box = {"x": 0, "y": top, "width": "100%", "height": base - top, "viewBox": "0 0 1000 1000"}
    parts.append(element("svg", drawing, **box, preserveAspectRatio="none"))
    if mark is not None:
        y = base - (base - top) * axis.share(mark)
        parts.append(element("line", x1="0%", x2="100%", y1=y, y2=y, class_="published"))
    parts += [element("text", f"{100 * t:.0f}" + " %" * (t == axis.ticks[-1]), x="0%", y=y - 4) for t, y in up.items()]
    parts.append(element("line", x1="0%", x2="100%", y1=base, y2=base, class_="base"))
    parts.append(element("text", "1", x="0%", y=base + 18))
    parts.append(element("text", f"{len(counts)} scored episodes", x="100%", y=base + 18, class_="end"))
    return _image(label, height, *parts)


def shares(parts: Mapping[str, float], label: str) -> Html:
    """Draw one bar that is divided in proportion to `parts`; the name of a part is the class of its colour."""
    whole, left, drawn = sum(parts.values()) or 1.0, 0.0, [element("title", label)]
    for name, value in parts.items():
        share = value / whole
        cut = element("rect", x=f"{100 * left:.3f}%", width=f"{100 * share:.3f}%", y=0, height=30, class_=f"t-{name}")
        drawn.append(element("g", element("title", f"{name}: {100 * share:.1f} %"), cut))
        left += share
    return _image(label, 30, *drawn, class_="shares")


def _image(label: str, height: int, *parts: str, class_: str = "chart") -> Html:
    return element("svg", *parts, role="img", aria_label=label, class_=class_, width="100%", height=height)


def _x(share: float) -> str:
    return f"{_MARGIN + (100 - 2 * _MARGIN) * share:.3f}%"


def _width(share: float) -> str:
    return f"{(100 - 2 * _MARGIN) * share:.3f}%"


def _tick(value: float, signed: bool) -> str:
    return _minus(f"{100 * value:+.0f}") if signed and round(100 * value) else f"{100 * value:.0f}"


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _counts(top: int) -> list[int]:
    """Return up to four round numbers above zero."""
    width = next(w for e in range(9) for w in (10**e, 2 * 10**e, 5 * 10**e) if top / w <= 4)
    return list(range(width, top + 1, width))


def _every(span: float, width: int) -> int:
    """Return a distance of labels below a histogram such that there are six or fewer."""
    return next(width * n for n in (1, 2, 4, 5, 10, 20, 50, 100, 1000) if span / (width * n) <= 6)
