"""Tables of figures as text for a terminal and as Markdown."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.figures import Row, Summary, Table
from tests.benchmarks.plots import draw_tunnel

_PICTURE = "bench-tunnel.svg"

_INTRODUCTION = """\
# Benchmarks

Written by `make bench ARGS="--write docs/benchmarks.md"`; not edited by hand.

A cell shows the median and, in brackets, the smallest and the largest sample. What is compared was
measured in alternating rounds of one run, so that noise of the machine hits both; a ratio is formed
in each round, and the median of the ratios is what the bar is held against. A row without a bar is
for information.
"""


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def _summary(value: Summary | None) -> str:
    if value is None:
        return ""
    text = f"{_number(value.median)} {value.unit}"
    if value.low == value.high:
        return text
    return f"{text} ({_number(value.low)} to {_number(value.high)})"


def _bars(row: Row) -> str:
    return ", ".join(
        f"{'≥' if bar.at_least else '≤'} {bar.limit:g} {row.values[bar.column].unit}".rstrip()
        + (f" ({bar.column})" if len(row.bars) > 1 else "")
        for bar in row.bars
    )


def _verdict(row: Row) -> str:
    if not row.bars:
        return ""
    return "FAIL" if row.missed else "pass"


def _cells(table: Table) -> list[list[str]]:
    columns = table.columns
    judged = any(row.bars for row in table.rows)
    lines = [["", *columns, *(["bar", ""] if judged else [])]]
    for row in table.rows:
        line = [row.label, *(_summary(row.values.get(name)) for name in columns)]
        lines.append([*line, *([_bars(row), _verdict(row)] if judged else [])])
    return lines


def to_text(table: Table) -> str:
    """One table for a terminal."""
    lines = _cells(table)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, body))
    text = textwrap.fill(table.text, 100)
    return "\n".join([f"== {table.title}", text, "", body[0], rule, *body[1:], ""])


def write_page(tables: Sequence[Table], file: Path) -> None:
    """Write the page ``docs/benchmarks.md``, and its picture to ``images`` beside it."""
    picture = file.parent / "images" / _PICTURE
    has_picture = draw_tunnel(tables, picture)
    file.write_text(_to_markdown(tables, has_picture), encoding="utf-8")


def _to_markdown(tables: Sequence[Table], has_picture: bool) -> str:
    parts = [_INTRODUCTION, f"Measured on {machine()}.\n"]
    if has_picture:
        parts.append(f"![gra's tunnel to a pod and other ways to it](images/{_PICTURE})\n")
    for table in tables:
        head, *body = [f"| {' | '.join(line)} |" for line in _cells(table)]
        rule = "|" + " --- |" * len(_cells(table)[0])
        text = textwrap.fill(table.text, 100)
        parts.append("\n".join([f"## {table.title}", "", text, "", head, rule, *body, ""]))
    return "\n".join(parts)


def machine() -> str:
    """What this was measured on, in words."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except FileNotFoundError:
        # Not Linux: what platform says has to do.
        pass
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores of {model}, {system}, Python {platform.python_version()}"
