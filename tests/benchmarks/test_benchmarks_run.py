"""The benchmarks run and their tables come out.  What the figures are is not looked at."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import lifecycle
from tests.cluster.layout import Layout, NotPossibleHereError

ROOT = Path(__file__).parents[2]

_LOCAL = {
    "Command line",
    "Launch to first result",
    "Phases of a launch",
    "Round trip",
    "Throughput",
    "CPU of the relays",
    "Memory of an agent",
    "Memory of the client's process",
}
_PODS = {
    "A list of many runners",
    "JupyterLab's panel with many runners",
    "Launch in a pod",
    "Phases of a launch in a pod",
    "Many launches at once",
    "Round trip to a pod",
    "Throughput to a pod",
    "CPU of the client's side",
    "Memory of the client against a stalled reader",
    "A slow link",
    "Recovery",
    "Memory of the client with runners in pods",
    "Files of a bucket",
    "Listing of a bucket",
    "Start with a bucket",
}
# For information.
_UNJUDGED = {
    *("Phases of a launch", "Phases of a launch in a pod", "CPU of the relays"),
    *("Files of a bucket", "Listing of a bucket"),
}


@pytest.mark.timeout(300)
def test_a_quick_run_prints_every_table_with_its_bars_and_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", "--write", str(page)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    assert run.returncode == 0, run.stderr

    tables = {table["title"]: table["rows"] for table in json.loads(run.stdout)["tables"]}
    if _has_cluster():
        assert tables.keys() == _LOCAL | _PODS
    else:
        assert tables.keys() == _LOCAL
    judged = {title for title, rows in tables.items() if any(row["bars"] for row in rows)}
    assert tables.keys() - judged == tables.keys() & _UNJUDGED
    assert all(rows for rows in tables.values())
    written = page.read_text(encoding="utf-8")
    assert all(f"## {title}\n" in written for title in tables)
    pictures = set(re.findall(r"!\[[^]]*\]\(([^)]+)\)", written))
    assert pictures == ({"images/bench-tunnel.svg"} if _has_cluster() else set())
    assert all((tmp_path / picture).is_file() for picture in pictures)


def _has_cluster() -> bool:
    try:
        lifecycle.up(Layout.of_user(), lambda line: None)
    except NotPossibleHereError:
        return False
    return True
