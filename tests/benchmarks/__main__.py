"""The command line: ``python -m tests.benchmarks [OPTIONS]``; ``--help`` names them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import (
    commands,
    launch,
    listing,
    memory,
    pods,
    report,
    roundtrip,
    s3,
    throughput,
    tunnel,
)
from tests.benchmarks.figures import Table
from tests.benchmarks.options import FULL, QUICK, Sizes
from tests.benchmarks.processes import ROOT
from tests.support.kernelspecs import KernelSpecs
from tests.support.places import Places

Measure = Callable[[Places, Sizes], Awaitable[list[Table]]]

BENCHMARKS: dict[str, Measure] = {
    "commands": commands.measure,
    "listing": listing.measure,
    "launch": launch.measure,
    "pods": pods.measure,
    "roundtrip": roundtrip.measure,
    "throughput": throughput.measure,
    "memory": memory.measure,
    "tunnel": tunnel.measure,
    "s3": s3.measure,
}


@contextmanager
def _own_place() -> Iterator[Places]:
    """Folders of the run's own, in the environment of this process and its children."""
    before = dict(os.environ)
    places = Places(Path(tempfile.mkdtemp(prefix="gra-bench-")))
    try:
        places.make()
        for name in [name for name in before if name.startswith(("GRA_", "JUPYTER_", "JPY_"))]:
            del os.environ[name]
        os.environ.update(places.environment())
        KernelSpecs(places.data, on_runners=True).install_all(ROOT / "kernelspecs")
        yield places
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(places.root)


async def _measure(names: Sequence[str], sizes: Sizes, *, quiet: bool) -> list[Table]:
    # Told to end, it removes what it made in the cluster.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    tables: list[Table] = []
    with _own_place() as places:
        for name in names:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            found = await BENCHMARKS[name](places, sizes)
            tables += found
            if not quiet:
                print(*map(report.to_text, found), sep="\n", flush=True)
    return tables


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure gra against its bars."
    )
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that all runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write them as Markdown")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for.  Returns the exit code."""
    options = _parse()
    names = options.only or list(BENCHMARKS)
    sizes = QUICK if options.quick else FULL
    tables = asyncio.run(_measure(names, sizes, quiet=options.json))
    rows = [row for table in tables for row in table.rows]
    bars = sum(len(row.bars) for row in rows)
    missed = [
        f"{row.label}, {bar.column}: {row.values[bar.column].median:.3g}, not "
        f"{'>=' if bar.at_least else '<='} {bar.limit:g}"
        for row in rows
        for bar in row.missed
    ]
    if options.json:
        data = {"machine": report.machine(), "tables": [table.to_dict() for table in tables]}
        print(json.dumps(data, indent=1))
    else:
        print(f"{bars - len(missed)} of {bars} bars kept on {report.machine()}.")
        print(*(f"  missed: {label}" for label in missed), sep="\n")
    if options.write is not None:
        report.write_page(tables, options.write)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
