"""The chart of incidents a day as SVG, by pygal. The same figures give the same bytes.

pygal adds to its drawing a script, a date and a tooltip for each bar: on a forge's page
none of them works, and the date would be news every day. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from flows.reporting.pages.index import DayCount

_WIDTH, _HEIGHT = 900, 280  # pixels
_GREEN, _RED = "#2da44e", "#cf222e"
_WEEK = 7
_SHOWN_ONE_BY_ONE = 10  # labels that fit beside each other
_NOTHING = ("0", "0.0")
_UNUSED = ("script", "desc", "title")


def recoveries_chart(days: Mapping[date, DayCount], *, count: int) -> bytes:
    """Incidents of each day that recovered, and those that did not.

    Args:
        days: what is known; the newest of them is the chart's last day.
        count: of days that are shown.
    """
    pygal = _pygal()
    shown = _last_days(days, count)
    counts = [days.get(day, DayCount()) for day in shown]
    style = pygal.style.Style(
        background="white",
        plot_background="white",
        colors=(_GREEN, _RED),
        font_family="sans-serif",
        title_font_size=17,
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=13,
        guide_stroke_color="#d0d7de",
    )
    chart: Any = pygal.StackedBar(
        width=_WIDTH,
        height=_HEIGHT,
        js=[],
        style=style,
        legend_at_bottom=True,
        show_minor_x_labels=len(shown) <= _SHOWN_ONE_BY_ONE,
        print_values=False,
        max_scale=5,
        value_formatter=lambda value: f"{value:g}",
        range=(0, max([1, *(c.recovered + c.others for c in counts)])),
        truncate_label=-1,
        no_prefix=True,
    )
    chart.uuid = "recoveries"
    chart.title = "Incidents a day"
    labels = [f"{day:%d %b}" for day in shown]
    chart.x_labels = labels
    chart.x_labels_major = labels[::-_WEEK]
    chart.add("recovered", [c.recovered or None for c in counts])
    chart.add("not recovered", [c.others or None for c in counts])
    return _still(chart.render_tree())


def _pygal() -> Any:
    """The library, without the finder that it puts in the way of all later imports."""
    import pygal  # type: ignore[import-untyped]  # it has no types  # noqa: PLC0415 - only a publication draws

    # For plug-ins of its own, by a protocol that Python 3.11 warns of at every import.
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != pygal.__name__]
    return pygal


def _last_days(days: Mapping[date, DayCount], count: int) -> list[date]:
    if not days:
        return []
    last = max(days)
    first = max(min(days), last - timedelta(days=count - 1))
    first = min(first, last - timedelta(days=min(count, _WEEK) - 1))  # one bar alone tells little
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _still(root: Any) -> bytes:
    """The drawing alone: nothing that runs, nothing that changes by itself."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - writes only, as pygal does

    for parent in list(root.iter()):
        for child in list(parent):
            unseen = child.get("height") in _NOTHING
            if unseen or not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in _UNUSED:
                parent.remove(child)
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    drawn: bytes = ET.tostring(root, encoding="utf-8")
    return drawn + b"\n"
