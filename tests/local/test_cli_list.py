"""``gra list`` and ``gra prune``: which runners, in which form, and what becomes of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pexpect
import pytest
import yaml

from tests.support.cli import GRA, gra, gra_json, read_line, stop
from tests.support.runners import Runners
from tests.support.waiting import until

pytestmark = pytest.mark.gra_only

_BOUND = 60.0
_SAME = pytest.mark.same_with_pods("the list is filtered and shown in one way")


def _create(*options: str, owner: str | None = None) -> str:
    result = subprocess.run(
        [*GRA, "create", "--no-kernel", *options],
        env={**os.environ, **({"GRA_OWNER": owner} if owner else {})},
        capture_output=True,
        text=True,
        timeout=_BOUND,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def four() -> Iterator[dict[str, str]]:
    """Runners by what they are: two of mine, two of Ada's."""
    yield {
        "mine": _create("--label", "team=a"),
        "large": _create("--profile", "large", "--label", "team=b"),
        "ada": _create(owner="ada"),
        "odd": _create("--label", "team=a", owner="Ada L. <ada@example.com>"),
    }
    for owner in ([], ["--owner", "ada"], ["--owner", "Ada L. <ada@example.com>"]):
        assert gra("delete", "--all", "--yes", *owner).returncode == 0


def _names(*options: str) -> list[str]:
    result = gra("list", "-o", "name", *options)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_runners_are_found_by_what_they_are(four: dict[str, str]) -> None:
    everybody = list(four.values())
    for options, wanted in {
        (): ["mine", "large"],
        ("--all",): list(four),
        ("--owner", "ada"): ["ada"],
        ("--owner", "Ada L. <ada@example.com>"): ["odd"],
        ("--owner", "nobody"): [],
        ("--label", "team=a"): ["mine"],
        ("--all", "--label", "team=a"): ["mine", "odd"],
        ("--profile", "large"): ["large"],
        ("--status", "running"): ["mine", "large"],
        ("--status", "ended", "--status", "lost"): [],
        ("--kernel", "gra"): [],
        ("--notebook", "*.ipynb"): [],
        ("--all", "--sort", "age"): list(four)[::-1],
        ("--all", "--reverse", "--limit", "1"): ["odd"],
        ("--sort", "memory", "--limit", "2", "--inspect"): None,
    }.items():
        found = _names(*options)
        if wanted is None:
            assert sorted(found) == sorted([four["mine"], four["large"]])
        elif options[-2:-1] == ("age",):
            # Pods that were made in the same second are of one age.
            assert sorted(found) == sorted(everybody)
        else:
            assert found == [four[name] for name in wanted], options


@_SAME
def test_a_list_comes_in_each_format(four: dict[str, str]) -> None:
    data = gra_json("list", "--all", "--no-inspect")
    assert [runner["name"] for runner in data] == list(four.values())
    assert [runner["labels"] for runner in data] == [
        {"team": "a"},
        {"team": "b"},
        {},
        {"team": "a"},
    ]
    text = gra("list", "--all", "--no-inspect", "-o", "yaml").stdout
    assert yaml.safe_load(text) == data
    assert json.loads(gra("list", "--all", "--no-inspect", "-o", "json").stdout) == data
    header, *lines, _ = gra("list", "--all", "-o", "wide").stdout.splitlines()
    assert "OWNER" in header
    assert ["ada@example.com" in line for line in lines] == [False, False, False, True]


@_SAME
def test_deleting_all_leaves_what_is_not_meant(four: dict[str, str]) -> None:
    result = gra("delete", "--all", "--label", "team=b", "--yes", "--json")
    assert json.loads(result.stdout) == {"deleted": [four["large"]]}
    assert _names("--all") == [four["mine"], four["ada"], four["odd"]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--all", "--owner", "ada"], "Choose one of --all and --owner"),
        (["--json", "-o", "yaml"], "Choose one of --json and --output"),
        (["--label", "team"], "NAME=VALUE"),
        (["--status", "dead"], "dead"),
        (["--sort", "colour"], "colour"),
        (["--limit", "0"], "--limit"),
        (["--watch", "--limit", "1"], "no --sort, --reverse or --limit"),
        (["-o", "xml"], "xml"),
    ],
)
@_SAME
def test_options_that_make_no_sense_are_refused(options: list[str], said: str) -> None:
    result = gra("list", *options)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stdout == ""


# -- watch ----------------------------------------------------------------------------------------


def test_a_watch_tells_what_there_is_and_what_becomes_of_it() -> None:
    first = _create()
    with subprocess.Popen(
        [*GRA, "list", "--watch", "--json"], stdout=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None

        def told() -> tuple[str, str]:
            assert process.stdout is not None
            line = json.loads(read_line(process.stdout, "a change", _BOUND))
            return line["kind"], line["runner"]["name"] if line["runner"] else ""

        assert [told(), told()] == [("added", first), ("synced", "")]
        second = _create("--label", "x=y")
        assert told() == ("added", second)
        assert gra("delete", second).returncode == 0
        while (change := told()) != ("deleted", second):
            assert change == ("modified", second)
        assert stop(process, signal.SIGINT, "gra list --watch") == 0
    assert gra("delete", first).returncode == 0


@_SAME
def test_a_watch_ends_with_its_reader() -> None:
    first = _create()
    with subprocess.Popen(
        [*GRA, "list", "--watch", "-o", "name"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert read_line(process.stdout, "the first runner").strip() == first
        process.stdout.close()
        # It learns of it when it has something to say.
        second = _create()
        assert process.wait(_BOUND) == 1
        assert process.stderr.read() == b""
    assert gra("delete", first, second).returncode == 0


@_SAME
def test_a_watch_on_a_terminal_is_a_table_of_now(runners: Runners) -> None:
    first = _create()
    terminal = pexpect.spawn(
        sys.executable,
        [*GRA[1:], "list", "--watch"],
        env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"},
        encoding="utf-8",
        dimensions=(24, 120),
        timeout=_BOUND,
    )
    try:
        terminal.expect_exact(f"{first}  small")
        second = _create()
        terminal.expect_exact(f"{second}  small")
        assert gra("delete", first, second).returncode == 0
        terminal.expect_exact("no runners of ")
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
        terminal.wait()
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 0


# -- prune ----------------------------------------------------------------------------------------


def test_what_is_left_of_runners_that_ended_is_removed() -> None:
    gone = _create("--ttl", "lifetime=1s")
    stays = _create()
    until(lambda: gra_json("get", gone)["status"] == "ended", f"the end of {gone}")

    assert gra("prune").returncode == 2, "nobody can be asked"
    assert gra("prune", "--dry-run").stdout == f"{gone} would be removed\n"
    assert _names() == [gone, stays]
    assert json.loads(gra("prune", "--yes", "--json").stdout) == {"deleted": [gone]}
    assert _names() == [stays]
    assert gra("prune", "--yes").stdout == "nothing deleted\n"
    assert gra("delete", stays).returncode == 0
