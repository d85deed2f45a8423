"""Rows of text in columns, as wide as the first rows need: those that come later can be thousands.

A rich table measures all of its rows before it prints the first, and each cell of them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import typer
from rich.cells import cell_len, set_cell_size

_GAP = "  "
# No column is made narrower than this to fit a terminal.
_NARROWEST = 8


@dataclass(frozen=True)
class Cell:
    """A text without control characters, and how it is shown: arguments of ``typer.style``."""

    text: str
    colour: str | None = None
    dim: bool = False


class Columns:
    """Formats rows alike.  ``width``: of the terminal; None: nothing is cut, nor coloured."""

    def __init__(self, titles: Sequence[str], width: int | None, *, coloured: bool = True) -> None:
        self._titles = titles
        self._width = width
        self._coloured = coloured and width is not None
        self._widths: list[int] = []

    def format(self, rows: Sequence[Sequence[Cell]]) -> list[str]:
        """The lines of these rows; the first time, the titles before them."""
        lines = []
        if not self._widths:
            self._widths = self._fitting(rows)
            titles = [Cell(title) for title in self._titles]
            lines.append(self._line(titles, bold=True))
        return lines + [self._line(row) for row in rows]

    def _fitting(self, rows: Sequence[Sequence[Cell]]) -> list[int]:
        texts = [list(self._titles), *([cell.text for cell in row] for row in rows)]
        widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
        if self._width is None:
            return widths
        room = self._width - len(_GAP) * (len(widths) - 1)
        while sum(widths) > room:
            widest = max(range(len(widths)), key=widths.__getitem__)
            if widths[widest] <= _NARROWEST:
                break
            widths[widest] = max(_NARROWEST, widths[widest] - (sum(widths) - room))
        return widths

    def _line(self, cells: Sequence[Cell], *, bold: bool = False) -> str:
        parts = []
        for cell, width in zip(cells, self._widths, strict=True):
            text = cell.text
            if self._width is not None and cell_len(text) > width:
                text = set_cell_size(text, width - 1) + "…"
            padding = " " * (width - cell_len(text))
            if self._coloured and (bold or cell.colour or cell.dim):
                text = typer.style(text, fg=cell.colour, dim=cell.dim or None, bold=bold or None)
            parts.append(text + padding)
        return _GAP.join(parts).rstrip()
