"""What `make test` makes of tests that fail: always, by accident, or in great number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.check import Result, Step, run_tests

# Fails the first time that it runs in its folder.
_SHAKY = """
from pathlib import Path

def test_shaky():
    seen = Path(__file__).with_suffix(".seen")
    had, _ = seen.exists(), seen.touch()
    assert had

def test_good():
    pass
"""


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest alone: the plugins of this environment take seconds to import."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def _checked(folder: Path, code: str) -> Result:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(code)
    return run_tests(Step("pytest", ("pytest", "-q"), folder), folder / "cache")


def test_tests_that_pass_pass(tmp_path: Path) -> None:
    result = _checked(tmp_path, "def test_good(): pass")

    assert (result.exit_code, result.shaky) == (0, ())


def test_a_test_that_passes_when_run_alone_is_named(tmp_path: Path) -> None:
    result = _checked(tmp_path, _SHAKY)

    assert (result.exit_code, result.shaky) == (0, ("test_it.py::test_shaky",))
    assert "SHAKY, passed only when run alone: test_it.py::test_shaky" in str(result)


@pytest.mark.parametrize(
    "code",
    [
        _SHAKY + "def test_bad(): assert False",
        # So many are no accident, whatever they would do alone.
        "\n".join(_SHAKY.replace("shaky", f"shaky{n}").replace("seen", f"s{n}") for n in range(6)),
        "def test_bad(:",
        "",
    ],
    ids=["always", "many", "no Python", "no tests"],
)
def test_whatever_else_fails_fails(tmp_path: Path, code: str) -> None:
    result = _checked(tmp_path, code)

    assert result.exit_code != 0
    assert not result.shaky
