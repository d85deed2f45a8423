"""What schemathesis is to know of the REST API that no description says.

Loaded by schemathesis (``SCHEMATHESIS_HOOKS``) in a process of its own; the environment has the
name of a runner to use and the server's address and token.
https://schemathesis.readthedocs.io/en/stable/guides/extending/
"""

from __future__ import annotations

import os
from typing import Any

import requests
import schemathesis

RUNNER, SERVER, TOKEN = "GRA_TEST_RUNNER", "GRA_TEST_SERVER", "GRA_TEST_TOKEN"


def _is_good(case: Any) -> bool:
    """Whether the data is as the description has it."""
    return case.meta is None or case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Where the data is right so far, let it be about what there is."""
    operation = case.operation.definition.raw["operationId"]
    good = _is_good(case)
    name = (case.path_parameters or {}).get("name")
    if isinstance(name, str) and name.startswith("runner-"):
        there = operation != "deleteRunner"
        case.path_parameters["name"] = os.environ[RUNNER] if there else "runner-404"
    if operation == "createRunner" and isinstance(case.body, dict):
        for field, value in (("profile", "small"), ("working_dir", "/tmp")):
            if isinstance(case.body.get(field), str):
                case.body[field] = value
        if good and isinstance(case.body.get("s3"), list):
            # Each would be asked for at a server that is not there.
            case.body["s3"] = []
        # A kernel takes a second each time.
        if isinstance(case.body.get("kernel", True), bool):
            case.body["kernel"] = False
    if operation == "startKernel" and isinstance(case.body, dict):
        # A kernel takes a second or two each time; that there is none of this name comes before.
        case.body["name"] = "no-such-kernelspec"
    if (case.query or {}).get("follow") in (True, "true"):
        # It would go on for ever.
        case.query["follow"] = False


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """What was made with good data is ended; what was made with bad data is to be seen."""
    if response.status_code in (201, 202) and _is_good(case):
        requests.delete(
            os.environ[SERVER] + response.headers["location"][0],
            params={"force": "true"},
            headers={"Authorization": f"token {os.environ[TOKEN]}"},
            timeout=30,
        )


@schemathesis.check
def no_fault(context: Any, response: Any, case: Any) -> None:
    """Nothing that is asked for is a fault of the server's, and no error shows its code."""
    assert response.status_code != 500
    # Code that was run may have one of its own.
    assert response.status_code < 400 or b"Traceback" not in response.content
