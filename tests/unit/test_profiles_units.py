"""Sizes, processor counts and durations as people write them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gra_provisioner.units import (
    cpu_quantity,
    format_age,
    format_count,
    format_size,
    parse_bound,
    parse_cpu,
    parse_duration,
    parse_size,
    size_quantity,
)

BINARY = {"": 0, "Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4}
DECIMAL = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (1048576, 1048576),
        (2e9, 2_000_000_000),
        ("123", 123),
        ("512Mi", 512 * 2**20),
        ("2Gi", 2 * 2**30),
        ("1.5Gi", 3 * 2**29),
        (".5Gi", 2**29),
        ("4G", 4 * 10**9),
        ("1k", 1000),
        ("129e6", 129_000_000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("+1Ki", 1024),
        # Rounded up, as Kubernetes does.
        ("0.1", 1),
        ("1e-3", 1),
    ],
)
def test_a_size_is_read_as_kubernetes_reads_it(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    # U+0661 is a digit to str.isdigit and to a careless regular expression.
    [
        "",
        "big",
        "2 Gi",
        "-1",
        -1,
        "1Gi2",
        "\u0661Gi",
        "1e999",
        "2GiB",
        True,
        None,
        [1],
        float("nan"),
        float("inf"),
        2**63,
        "9E9E",
        "1" * 40,
    ],
)
def test_what_is_no_size_is_refused_with_what_is_allowed(written: object) -> None:
    with pytest.raises(ValueError, match=r'^must be a size: "512Mi"'):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("2GB", 'write "2Gi"'),
        ("2gi", 'write "2Gi"'),
        ("512 mb", 'write "512Mi"'),
        ("128m", 'the suffix "m" means a fraction of a byte'),
    ],
)
def test_a_size_that_is_nearly_right_is_corrected(written: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        parse_size(written)


@given(st.integers(0, 2**20), st.sampled_from(sorted(BINARY)))
def test_binary_suffixes_are_powers_of_1024(count: int, suffix: str) -> None:
    assert parse_size(f"{count}{suffix}") == count * 1024 ** BINARY[suffix]


@given(st.decimals(0, 10**6, places=3), st.sampled_from(sorted(DECIMAL)))
def test_decimal_sizes_are_exact_and_rounded_up(count: object, suffix: str) -> None:
    exact = Fraction(str(count)) * 1000 ** DECIMAL[suffix]
    assert 0 <= parse_size(f"{count:f}{suffix}") - exact < 1


@pytest.mark.parametrize("parse", [parse_size, parse_cpu, parse_duration])
@given(value=st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_any_value_is_read_or_refused(parse: Callable[[object], float], value: object) -> None:
    with contextlib.suppress(ValueError):
        result = parse(value)
        assert result is None or result >= 0


@pytest.mark.parametrize(
    ("written", "cpu"),
    [(2, 2), (0.5, 0.5), ("500m", 0.5), ("1.5", 1.5), ("1k", 1000), ("1m", 0.001)],
)
def test_processors_are_read_as_kubernetes_reads_them(written: object, cpu: float) -> None:
    assert parse_cpu(written) == cpu


@pytest.mark.parametrize("written", [0, -1, "0", "0.5m", "two", "", True, None, "1 "])
def test_what_is_no_number_of_processors_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a number of processors"):
        parse_cpu(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (30, 30),
        (0.5, 0.5),
        ("90s", 90),
        ("30m", 1800),
        ("12h", 43200),
        ("2d", 172800),
        ("1h30m", 5400),
        ("1.5h", 5400),
    ],
)
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", [False, "never", None])
def test_a_duration_may_be_none(written: object) -> None:
    assert parse_duration(written) is None


@pytest.mark.parametrize(
    "written",
    [0, -1, True, "", "soon", "30", "1 h", "h", "1w", "0s", "-1h", float("inf"), 1e12, []],
)
def test_what_is_no_duration_is_refused_with_what_is_allowed(written: object) -> None:
    with pytest.raises(ValueError, match=r'^must be a duration .*"30m".*"never"'):
        parse_duration(written)


@given(st.integers(0, 999), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (2**10, "1 KiB"),
        (2**31, "2 GiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**20 - 1, "1 MiB"),
        (10**9, "953.7 MiB"),
        (2**63, "8 EiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_fitting_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 2**40))
def test_a_shown_size_is_right_to_a_twentieth_of_its_unit(size: int) -> None:
    count, unit = format_size(size).split()
    scale = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)
    assert abs(float(count) * scale - size) <= scale * 0.05001


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (172800, "2d")],
)
def test_an_age_is_shown_in_whole_units(seconds: float, text: str) -> None:
    assert format_age(seconds) == text


def test_a_number_of_processors_is_shown_without_needless_zeros() -> None:
    assert [format_count(value) for value in (2.0, 0.5, 0.25)] == ["2", "0.5", "0.25"]


# What Kubernetes is told.


@pytest.mark.parametrize(
    ("cpu", "quantity"),
    [(2.0, "2"), (0.5, "500m"), (0.001, "1m"), (0.0015, "2m"), (0.069, "69m"), (1.001, "1001m")],
)
def test_processors_are_told_in_thousandths(cpu: float, quantity: str) -> None:
    assert cpu_quantity(cpu) == quantity


@pytest.mark.parametrize(
    ("size", "quantity"),
    [(2 * 2**30, "2Gi"), (1536 * 2**20, "1536Mi"), (4 * 10**9, "4G"), (1025, "1025"), (0, "0")],
)
def test_a_size_is_told_in_the_unit_that_suits_it(size: int, quantity: str) -> None:
    assert size_quantity(size) == quantity


@given(st.integers(0, 2**63 - 1))
def test_a_size_is_told_exactly(size: int) -> None:
    assert parse_size(size_quantity(size)) == size


@given(st.integers(1, 2**20 * 1000))
def test_thousandths_of_a_processor_are_told_exactly(thousandths: int) -> None:
    quantity = cpu_quantity(parse_cpu(f"{thousandths}m"))
    assert round(parse_cpu(quantity) * 1000) == thousandths


@pytest.mark.parametrize("value", [None, False, "never", 0, "soon"])
def test_a_bound_is_never_never(value: object) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration above 0: .* \"1h30m\"$"):
        parse_bound(value)


def test_a_bound_is_a_duration() -> None:
    assert parse_bound("1h30m") == 5400
