"""Sizes, processor counts and durations: what people write, and what is shown to them.

The parsers raise :class:`ValueError` with a text that begins with "must be" and says what is
allowed; :mod:`gra_provisioner.profiles` puts the file, the field and the value before it.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

SIZE_SYNTAX = 'must be a size: "512Mi", "2Gi", "4G" or a number of bytes'
CPU_SYNTAX = 'must be a number of processors, 0.001 or more: 2, 0.5 or "500m"'
BOUND_SYNTAX = (
    'must be a duration above 0: seconds as a number, "90s", "30m", "12h", "2d" or "1h30m"'
)
DURATION_SYNTAX = f'{BOUND_SYNTAX}, or false (or "never") for none'

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?",
    re.ASCII,
)
_BINARY = {f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", 1)}
_FRACTIONAL = {letter: Fraction(1, 1000**power) for power, letter in enumerate("mun", 1)}
_SUFFIXES = {**_BINARY, **_DECIMAL, **_FRACTIONAL}
_MAX_SIZE = 2**63 - 1

_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?[dhms])+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9.]+)([dhms])", re.ASCII)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
# A century: far beyond any use, and well inside what every timer can take.
_MAX_DURATION = 100 * 365 * 86400.0


def _quantity(text: str) -> tuple[Fraction, str] | None:
    """A Kubernetes quantity as (exact value, suffix), or ``None`` if ``text`` is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    suffix = match["suffix"] or ""
    scale = _SUFFIXES.get(suffix, Fraction(1)) * Fraction(10) ** int(match["exponent"] or 0)
    return Fraction(match["number"]) * scale, suffix


def _number(value: object) -> Fraction | None:
    """A finite ``int`` or ``float`` that is no ``bool``, exactly."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return Fraction(value)


def parse_size(value: object) -> int:
    """Bytes from a number of bytes or a Kubernetes quantity such as ``"2Gi"``, rounded up.

    The suffix ``m`` (thousandths), which Kubernetes accepts for memory too, is refused: it
    is always a slip for ``Mi``.  Raises :class:`ValueError`.
    """
    number = _number(value)
    if isinstance(value, str):
        quantity = _quantity(value)
        if quantity is None:
            near = re.fullmatch(r"([0-9.]+) ?([kmgtp])i?b?", value, re.ASCII | re.IGNORECASE)
            guess = f'; write "{near[1]}{near[2].upper()}i"' if near else ""
            raise ValueError(SIZE_SYNTAX + guess)
        number, suffix = quantity
        if suffix in _FRACTIONAL:
            raise ValueError(f'{SIZE_SYNTAX}; the suffix "{suffix}" means a fraction of a byte')
    if number is None or not 0 <= number <= _MAX_SIZE:
        raise ValueError(SIZE_SYNTAX)
    return math.ceil(number)


def parse_cpu(value: object) -> float:
    """Processors from a number or a Kubernetes quantity such as ``"500m"``.

    Raises :class:`ValueError`.
    """
    number = _number(value)
    if isinstance(value, str):
        quantity = _quantity(value)
        number = quantity[0] if quantity else None
    if number is None or not Fraction(1, 1000) <= number <= 2**20:
        raise ValueError(CPU_SYNTAX)
    return float(number)


def parse_duration(value: object) -> float | None:
    """Seconds from a number of seconds or a text such as ``"1h30m"``; ``None`` for never.

    ``False``, ``None`` and ``"never"`` mean never.  Zero is refused: some would mean "at
    once" by it and some "never".  Raises :class:`ValueError`.
    """
    if value is None or value is False or value == "never":
        return None
    number = _number(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        number = sum((Fraction(count) * _SECONDS[unit] for count, unit in parts), Fraction(0))
    if number is None or not 0 < number <= _MAX_DURATION:
        raise ValueError(DURATION_SYNTAX)
    return float(number)


def parse_bound(value: object) -> float:
    """Seconds as :func:`parse_duration` has them, where never is no answer.

    Raises :class:`ValueError`.
    """
    try:
        duration = parse_duration(value)
    except ValueError:
        duration = None
    if duration is None:
        raise ValueError(BOUND_SYNTAX)
    return duration


def cpu_quantity(cpu: float) -> str:
    """Processors as a Kubernetes quantity: ``2``, ``500m``; rounded up to thousandths."""
    # What a float adds to the number that was written must not count as a thousandth.
    thousandths = math.ceil(round(cpu * 1000, 6))
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def size_quantity(size: int) -> str:
    """Bytes as a Kubernetes quantity, exactly and as short as can be: ``2Gi``, ``4G``, ``1025``."""
    units = {"": Fraction(1), **_DECIMAL, **_BINARY}
    return min(
        (f"{size // factor}{unit}" for unit, factor in units.items() if size % factor == 0),
        key=len,
    )


def format_size(size: int) -> str:
    """``2 GiB``, ``1.5 GiB``, ``512 MiB``: at most one decimal, in the largest fitting unit."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        # 1023.95 would be shown as 1024.0.
        if value < 1023.95:
            return f"{value:.1f}".removesuffix(".0") + f" {unit}"
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + " EiB"


def format_count(value: float) -> str:
    """A number of processors as people write it: ``2``, ``0.5``."""
    return f"{value:g}"


def format_age(seconds: float) -> str:
    """``5s``, ``3m``, ``2h``, ``4d``: whole units, rounded down, never negative."""
    whole = max(0, int(seconds))
    for unit, length in _SECONDS.items():
        if whole >= length:
            return f"{whole // length}{unit}"
    return "0s"
