"""What ``gra`` prints with ``--json`` is as ``docs/schemas`` says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.cli import GRA, gra, read_line, stop
from tests.support.runners import Runners

pytestmark = pytest.mark.gra_only

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def _check(name: str, document: Any) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)


def test_what_is_printed_has_the_published_form(runners: Runners) -> None:
    checked = set()

    def checks(name: str, *arguments: str, lines: bool = False, fails: bool = False) -> Any:
        done = gra(*arguments)
        assert (done.returncode != 0) == fails, done.stderr
        text = done.stderr if fails else done.stdout
        documents = (
            [json.loads(line) for line in text.splitlines()] if lines else [json.loads(text)]
        )
        assert documents
        for document in documents:
            _check(name, document)
        checked.add(name)
        return documents[0]

    runner = checks("create", "create", "--json")["name"]
    assert checks("list", "list", "--json")
    checks("get", "get", runner, "--json")
    checks("exec", "exec", "--json", runner, "--", "sh", "-c", "echo grün; printf '\\377' >&2")
    checks("exec-stream", "exec", "--stream", runner, "--", "echo", "grün", lines=True)
    checks("logs", "logs", runner, "--json", lines=True)
    checks("version", "version", "--json")
    checks("doctor", "doctor", "--json")
    checks("error", "get", "runner-99", "--json", lines=True, fails=True)

    with subprocess.Popen(
        [*GRA, "list", "--watch", "--json"], stdout=subprocess.PIPE, bufsize=0
    ) as watch:
        assert watch.stdout is not None
        kinds = []
        for _ in range(2):
            change = json.loads(read_line(watch.stdout, "a change"))
            _check("list-watch", change)
            kinds.append(change["kind"])
        stop(watch, 15, "the watch")
    checked.add("list-watch")
    assert kinds == ["added", "synced"]
    checks("delete", "delete", runner, "--json")
    assert checked == {path.stem for path in SCHEMAS.glob("*.json")}
