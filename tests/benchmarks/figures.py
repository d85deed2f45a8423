"""What a benchmark finds, as plain data: samples, what sums them up, bars, and tables of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Summary:
    """The median of some samples and how far they spread.  ``unit`` is for the reader."""

    median: float
    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, samples: Sequence[float], unit: str) -> Summary:
        """Sum up one or more samples."""
        return cls(statistics.median(samples), min(samples), max(samples), unit)

    @classmethod
    def ratio(cls, above: Sequence[float], below: Sequence[float]) -> Summary:
        """Sum up the ratios of samples that were taken next to each other."""
        return cls.of([a / b for a, b in zip(above, below, strict=True)], "x")


@dataclass(frozen=True)
class Bar:
    """What the median in the column ``column`` has to keep to."""

    column: str
    limit: float
    at_least: bool = False

    def passes(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One thing that was measured, by column; with bars, or for information."""

    label: str
    values: Mapping[str, Summary]
    bars: Sequence[Bar] = ()

    @property
    def missed(self) -> list[Bar]:
        """The bars that are not kept."""
        return [bar for bar in self.bars if not bar.passes(self.values[bar.column].median)]


@dataclass(frozen=True)
class Table:
    """Rows with the same columns.  ``text`` says precisely what is compared."""

    title: str
    text: str
    rows: Sequence[Row] = field(default_factory=tuple)

    @property
    def columns(self) -> list[str]:
        """All columns of all rows, in the order of their first use."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON types."""
        return {
            "title": self.title,
            "text": self.text,
            "rows": [
                {
                    "label": row.label,
                    "values": {name: vars(value) for name, value in row.values.items()},
                    "bars": [vars(bar) for bar in row.bars],
                    "missed": [vars(bar) for bar in row.missed],
                }
                for row in self.rows
            ],
        }


def percentile(samples: Sequence[float], percent: float) -> float:
    """The sample that ``percent`` per cent of all samples do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
