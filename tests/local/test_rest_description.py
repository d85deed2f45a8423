"""The REST API does what its description says, whatever it is sent.

schemathesis (https://schemathesis.io) makes requests of the description that a running server
gives: right ones, and ones that are wrong in some way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import schemathesis_hooks
from tests.support.rest import Rest

pytestmark = [
    pytest.mark.gra_only,
    pytest.mark.local_only("what is sent and answered is the same with pods"),
]

_BOUND = 80.0
# A stream of changes has no end.
_ENDLESS = "watchRunners"
# That a program is not in the runner no description can say.
_UNKNOWN = "positive_data_acceptance"
# 502 and 503 are answers, too: no_fault looks for 500.
_OURS = "not_a_server_error"


def _schemathesis(rest: Rest, runner: str, folder: Path, *options: str) -> None:
    """Run it against the server; fails the test with its report."""
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": schemathesis_hooks.__file__,
        schemathesis_hooks.RUNNER: runner,
        schemathesis_hooks.SERVER: rest.server.url.rstrip("/"),
        schemathesis_hooks.TOKEN: rest.server.token,
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{rest.url}openapi.json"),
            *("--header", f"Authorization: token {rest.server.token}"),
            *("--phases", "examples,coverage,fuzzing", "--checks", "all"),
            *("--exclude-checks", f"{_UNKNOWN},{_OURS}"),
            *("--exclude-operation-id", _ENDLESS),
            *("--request-timeout", "20", "--no-color", "--continue-on-failure"),
            *options,
        ],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_BOUND,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


def test_answers_are_as_described(rest: Rest, tmp_path: Path) -> None:
    with rest.runner() as runner:
        _schemathesis(rest, runner, tmp_path, "--mode", "positive", "--max-examples", "25")
        assert rest.names() == [runner]


def test_what_is_wrong_is_refused_and_makes_nothing(rest: Rest, tmp_path: Path) -> None:
    with rest.runner() as runner:
        _schemathesis(rest, runner, tmp_path, "--mode", "negative", "--max-examples", "50")
        assert rest.names() == [runner]
