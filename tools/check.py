"""Runs the checks of the repository, all of them whatever fails, and sums up at the end.

``python -m tools.check lint|soak|all [-- ARGUMENTS FOR PYTEST]``.  Exit code 0 means that every
step passed.  Called by the Makefile, in the environment that ``tools/bootstrap.sh`` makes.

A test that failed among the others is run once more, alone: see :func:`run_tests`.

``all`` brings the test cluster up where this host can have one, and takes it down again unless it
was there before.  Variables: ``GRA_KEEP_CLUSTER=1`` leaves it up; ``GRA_TEST_KUBECONFIG`` names
another cluster, and then none is brought up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from . import frontend

ROOT = Path(__file__).parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))
# Where pytest notes what failed.
TEST_CACHE = ROOT / "build" / "pytest-cache"
# As pytest has it.
TESTS_FAILED = 1
_MOST_SHAKY = 5
# Interrupted by Ctrl-C, as shells have it.
INTERRUPTED = 130


@dataclass(frozen=True)
class Step:
    """One check: what it is called, its command in this environment, and where it runs."""

    name: str
    command: tuple[str, ...]
    folder: Path = ROOT


@dataclass(frozen=True)
class Result:
    """How a step ended.  ``seconds`` is wall time."""

    name: str
    exit_code: int
    seconds: float
    # Tests that failed among the others and passed when run alone.
    shaky: tuple[str, ...] = ()

    def __str__(self) -> str:
        verdict = "passed" if self.exit_code == 0 else f"FAILED (exit code {self.exit_code})"
        lines = [f"  {self.name:<14} {self.seconds:>7.1f} s  {verdict}"]
        lines += [f"{'':<29} SHAKY, passed only when run alone: {test}" for test in self.shaky]
        return "\n".join(lines)


_FRONT_END = ("python", "-m", "tools.frontend")
LINT = (
    Step("ruff check", ("ruff", "check", ".")),
    Step("ruff format", ("ruff", "format", "--check", ".")),
    Step("mypy", ("mypy",)),
    Step("import-linter", ("lint-imports", "--no-logo")),
    *(Step(name, (*_FRONT_END, "check", name)) for name in frontend.CHECKS),
)
_CLUSTER = ("python", "-m", "tests.cluster")
# Completion is tried in each.
_SHELLS = ("zsh", "fish")
_BROWSER = "chromium"
# A program of each package.
_MOUNTS = {"s3fs": "s3fs", "fusermount": "fuse"}
SHELLS = Step("shells", ("tools/apt-install.sh", "Tests need shells.", *_SHELLS))
BROWSER = Step("browser", ("tools/apt-install.sh", "Tests need a browser.", _BROWSER))
MOUNTS = Step("mounts", ("tools/apt-install.sh", "Tests mount S3.", *_MOUNTS.values()))
FRONT_END = Step("front end", (*_FRONT_END, "build"))
CLUSTER_UP = Step("cluster", (*_CLUSTER, "up", "--if-possible"))
CLUSTER_DOWN = Step("cluster down", (*_CLUSTER, "down"))
CLUSTER_STATUS = Step("cluster status", (*_CLUSTER, "status"))
# The exit code of CLUSTER_STATUS where nothing of it runs.
CLUSTER_IS_DOWN = 3


def steps(what: str, pytest_arguments: list[str]) -> tuple[Step, ...]:
    """The steps of one target of the Makefile."""
    # Most tests wait most of the time, so there may be more of them than cores.
    workers = str((os.cpu_count() or 1) + 1)
    test = Step("pytest", ("pytest", "--numprocesses", workers, *pytest_arguments))
    soak = Step("pytest (soak)", ("pytest", "-m", "soak", *pytest_arguments))
    wanted = {SHELLS: _SHELLS, BROWSER: (_BROWSER,), MOUNTS: tuple(_MOUNTS)}
    missing = tuple(
        step for step, programs in wanted.items() if not all(map(shutil.which, programs))
    )
    installed = missing if _may_install() else ()
    everything = (*LINT, *installed, FRONT_END, CLUSTER_UP, test)
    return {"lint": LINT, "soak": (soak,), "all": everything}[what]


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def run_tests(step: Step, cache: Path = TEST_CACHE) -> Result:
    """Run pytest; what failed is run once more, alone, and must pass then.

    Several tests at a time, most of which start processes, can keep one of them waiting beyond its
    bound on a machine with few cores.  A test that only passes alone is named in the summary,
    because something is wrong with it.  More than a few that fail are no such accident.
    """
    shutil.rmtree(cache, ignore_errors=True)
    options = ("--override-ini", f"cache_dir={cache}")
    first = run(Step(step.name, (*step.command, *options), step.folder))
    record = cache / "v" / "cache" / "lastfailed"
    failed = tuple(json.loads(record.read_text())) if record.exists() else ()
    if first.exit_code != TESTS_FAILED or not 0 < len(failed) <= _MOST_SHAKY:
        return first
    again = run(Step(f"{step.name}, alone", ("pytest", *options, *failed), step.folder))
    seconds = first.seconds + again.seconds
    if again.exit_code != 0:
        return Result(step.name, again.exit_code, seconds)
    return Result(step.name, 0, seconds, failed)


def run(step: Step) -> Result:
    """Run one step with its output on ours."""
    print(f"== {step.name}", flush=True)
    started = time.monotonic()
    process = subprocess.run(command_of(step), cwd=step.folder, check=False)
    return Result(step.name, process.returncode, time.monotonic() - started)


def command_of(step: Step) -> list[str]:
    """The whole command, with the program's path in this environment."""
    program, *arguments = step.command
    # With a folder it is one of this repository's own.
    return [str((ROOT if "/" in program else SCRIPTS) / program), *arguments]


def is_cluster_down() -> bool:
    """Whether nothing of the test cluster runs on this host."""
    status = subprocess.run(
        command_of(CLUSTER_STATUS),
        cwd=ROOT,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return status.returncode == CLUSTER_IS_DOWN


@contextmanager
def cluster_as_before(results: list[Result]) -> Iterator[None]:
    """Take the cluster down after the block if it was down before; adds a result if that fails."""
    keep = os.environ.get("GRA_KEEP_CLUSTER") == "1" or not is_cluster_down()
    try:
        yield
    finally:
        if not keep and (down := run(CLUSTER_DOWN)).exit_code != 0:
            results.append(down)


def main() -> int:
    """Run what the command line asks for.  Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("lint", "soak", "all"))
    parser.add_argument("pytest_arguments", nargs="*", metavar="ARGUMENT FOR PYTEST")
    arguments = parser.parse_args()
    todo = list(steps(arguments.what, arguments.pytest_arguments))
    tests = todo.pop() if arguments.what == "all" else None
    if os.environ.get("GRA_TEST_KUBECONFIG"):
        todo = [step for step in todo if step != CLUSTER_UP]
    results: list[Result] = []
    try:
        with cluster_as_before(results) if CLUSTER_UP in todo else nullcontext():
            results.extend(map(run, todo))
            if tests is not None:
                results.append(run_tests(tests))
    except KeyboardInterrupt:
        return INTERRUPTED
    print("== summary", *results, sep="\n", flush=True)
    return 0 if all(result.exit_code == 0 for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
