"""Pictures of tables, for the page of the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.figures import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The same colour for a way wherever it is shown; gra's stands out.
_COLOURS = {
    "kubectl port-forward": "#7f8c99",
    "gra": "#d9622b",
    "bare websocket": "#b9c2ca",
    "Python client": "#d8dde1",
    "kubectl exec": "#e8ebee",
}
_INK = "#30363c"


@dataclass(frozen=True)
class Panel:
    """One part of the picture: rows of a table, as groups of bars by column."""

    table: str
    title: str
    rows: Mapping[str, str]
    ways: Sequence[str]


_THREE = ("kubectl port-forward", "gra", "bare websocket")
_TRANSFERS = {
    "from the pod, 1 at once": "from the pod",
    "to the pod, 1 at once": "to the pod",
    "from the pod, 5 at once": "from, 5 streams",
    "to the pod, 5 at once": "to, 5 streams",
}
_TUNNEL = (
    Panel(
        "Throughput to a pod",
        "Throughput, MB/s (more is better)",
        _TRANSFERS,
        _THREE,
    ),
    Panel(
        "CPU of the client's side",
        "CPU of the client, s/GB (less is better)",
        _TRANSFERS,
        _THREE,
    ),
    Panel(
        "Round trip to a pod",
        "Round trip, µs (less is better)",
        {"round trip, p50": "64 bytes and back, p50"},
        _THREE,
    ),
    Panel(
        "A slow link",
        "50 Mbit/s, 40 ms: seconds (less is better)",
        {},
        ("kubectl port-forward", "gra"),
    ),
)


def draw_tunnel(tables: Sequence[Table], file: Path) -> bool:
    """Draw what there is of the tunnel to a pod as an SVG.  False if there is nothing."""
    found = {table.title: table for table in tables}
    panels = [panel for panel in _TUNNEL if panel.table in found]
    if not panels:
        return False
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: Any = {
        # The same file for the same figures, with text that can be found and read aloud.
        "svg.hashsalt": "gra",
        "svg.fonttype": "none",
        "font.size": 9,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 6.4), layout="constrained", facecolor="white")
        parts = figure.subplots(2, 2, squeeze=False).flatten()
        for axes, panel in zip(parts, panels, strict=False):
            _draw(axes, panel, found[panel.table])
        for axes in parts[len(panels) :]:
            axes.set_visible(False)
        handles, labels = parts[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})
    return True


def _draw(axes: Axes, panel: Panel, table: Table) -> None:
    rows = [row for row in table.rows if not panel.rows or row.label in panel.rows]
    width = 0.8 / len(panel.ways)
    for number, way in enumerate(panel.ways):
        values = [row.values[way] for row in rows]
        medians = [value.median for value in values]
        spread = [
            [value.median - value.low for value in values],
            [value.high - value.median for value in values],
        ]
        places = [at + (number - (len(panel.ways) - 1) / 2) * width for at in range(len(rows))]
        axes.bar(
            places,
            medians,
            width * 0.92,
            label=way,
            color=_COLOURS[way],
            yerr=spread if any(map(any, spread)) else None,
            error_kw={"ecolor": _INK, "elinewidth": 0.8, "capsize": 2},
        )
    axes.set_xticks(range(len(rows)), [panel.rows.get(row.label, row.label) for row in rows])
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(bottom=0)
