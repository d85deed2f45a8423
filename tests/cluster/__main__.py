"""The command line: ``python -m tests.cluster up|down|status|kubectl …``.

Exit codes of ``status``: 0 it runs and is well, 1 something is wrong, 3 it is down (as those of
init scripts in the Linux Standard Base).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.cluster import lifecycle
from tests.cluster.layout import ClusterError, Layout, NotPossibleHereError

_DOWN = 3


def main() -> int:
    """Do what the command line asks for.  Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster up, or repair it; print its kubeconfig")
    up.add_argument(
        "--if-possible",
        action="store_true",
        help="where there can be none, say so and exit with 0 (unless CI=true)",
    )
    up.add_argument(
        "--alone",
        action="store_true",
        help="wait for no test that has the cluster to itself (for such a test's own use)",
    )
    commands.add_parser("status", help="say how each part is")
    commands.add_parser("down", help="take the cluster down and remove what it made")
    commands.add_parser("kubectl", help="run kubectl as the administrator", add_help=False)
    # What follows that is kubectl's own.
    is_kubectl = sys.argv[1:2] == ["kubectl"]
    arguments = parser.parse_args(sys.argv[1:2] if is_kubectl else None)
    layout = Layout.of_user()
    try:
        if arguments.command == "up":
            return _up(layout, if_possible=arguments.if_possible, is_alone=arguments.alone)
        if arguments.command == "status":
            return _status(layout)
        if arguments.command == "kubectl":
            return _kubectl(layout, sys.argv[2:])
        lifecycle.down(layout)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _up(layout: Layout, *, if_possible: bool, is_alone: bool) -> int:
    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        lifecycle.up(layout, say, is_alone=is_alone)
    except NotPossibleHereError as error:
        if not if_possible or os.environ.get("CI") == "true":
            raise
        print(f"No cluster: {error}.", file=sys.stderr)
        return 0
    print(layout.kubeconfig)
    return 0


def _status(layout: Layout) -> int:
    found = lifecycle.status(layout)
    for part in found.parts:
        pids = " ".join(map(str, part.pids)) or "-"
        print(f"{part.name:<20} {pids:<8} {part.problem or 'is well'}")
    if found.is_down:
        print("The cluster is down.")
        return _DOWN
    if found.outdated:
        print(f"The cluster is to be made anew: {found.outdated}.")
    return 0 if found.is_healthy else 1


def _kubectl(layout: Layout, words: list[str]) -> int:
    program, kubeconfig = str(lifecycle.kubectl(layout)), str(layout.kubeconfig)
    command = [program, "--kubeconfig", kubeconfig, *words]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
