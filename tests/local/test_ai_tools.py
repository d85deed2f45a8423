"""gra as the tool of a coding agent: by its functions, and by its shell.

No model is asked.  The stand-in does what Gemini CLI does with ``tools.discoveryCommand`` and
``tools.callCommand`` (google-gemini/gemini-cli, packages/core/src/tools/tool-registry.ts), and its
plan is written down; what it does next depends on the answers it gets.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.cli import gra_json

pytestmark = pytest.mark.gra_only

ROOT = Path(__file__).parents[2]
_BOUND = 120.0
_SAME = pytest.mark.same_with_pods("the functions are described and refused in one way")
_PROGRAM = str(Path(sys.executable).with_name("gra-tool"))


class CallFailed(Exception):
    """What the model would be told."""


class StandIn:
    """Finds the functions, and calls them as the settings say."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._call_command = settings["tools"]["callCommand"]
        found = subprocess.run(
            shlex.split(settings["tools"]["discoveryCommand"]),
            capture_output=True,
            timeout=_BOUND,
            check=True,
        )
        self.functions = {each["name"]: each for each in json.loads(found.stdout)}

    def call(self, name: str, **arguments: Any) -> Any:
        """The answer.  As Gemini CLI has it, a word on stderr is a failure, too."""
        jsonschema.validate(arguments, self.functions[name]["parametersJsonSchema"])
        done = subprocess.run(
            [self._call_command, name],
            input=json.dumps(arguments).encode(),
            capture_output=True,
            timeout=_BOUND,
            check=False,
        )
        if done.returncode or done.stderr:
            raise CallFailed(done.stderr.decode())
        return json.loads(done.stdout)


@pytest.fixture
def agent() -> StandIn:
    """With the settings of docs/ai-tools.md."""
    text = (ROOT / "docs" / "ai-tools.md").read_text(encoding="utf-8")
    block = re.search(r"```json\n(\{\n  \"tools\".*?)```", text, re.DOTALL)
    assert block is not None
    settings = json.loads(block[1].replace("gra-tool", _PROGRAM))
    return StandIn(settings)


def test_an_agent_does_a_job_from_beginning_to_end(agent: StandIn) -> None:
    made = agent.call("create_runner", lifetime="30m", labels={"made-by": "stand-in"})
    runner = made["name"]
    try:
        assert made["status"] == "running"

        code = "open('n.txt', 'w').write('6 7')\nprint('written')"
        assert agent.call("run_python", runner=runner, code=code)["stdout"]["text"] == "written\n"
        # It makes a mistake, reads why, and mends it.
        wrong = "import sys\na, b = map(int, open('n.txt').read().split(','))\nprint(a * b)"
        failed = agent.call("run_python", runner=runner, code=wrong)
        assert failed["exit_code"] == 1
        assert "ValueError" in failed["stderr"]["text"]
        mended = agent.call("run_python", runner=runner, code=wrong.replace("','", ""))
        assert (mended["exit_code"], mended["stdout"]["text"]) == (0, "42\n")

        slow = agent.call("run_command", runner=runner, command="sleep 1000", timeout=1)
        assert (slow["timed_out"], slow["exit_code"]) == (True, 124)
        long = agent.call("run_command", runner=runner, command="seq 1000000")["stdout"]
        assert long["dropped"] > 1_000_000
        assert len(long["text"]) < 40_000, "it would fill the model's context"
        assert long["text"].endswith("1000000\n")

        (mine,) = agent.call("list_runners")
        assert (mine["name"], mine["labels"]) == (runner, {"made-by": "stand-in"})
        assert agent.call("get_runner", runner=runner)["uid"] == made["uid"]
        assert any("agent ready" in line["text"] for line in agent.call("read_logs", runner=runner))
    finally:
        assert agent.call("delete_runner", runner=runner) == {"deleted": [runner]}
    with pytest.raises(CallFailed, match="RunnerNotFound"):
        agent.call("get_runner", runner=runner)


@_SAME
def test_another_users_runner_is_left_alone(
    agent: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRA_OWNER", "ada")
    runner = agent.call("create_runner")["name"]
    monkeypatch.setenv("GRA_OWNER", "bob")
    assert agent.call("list_runners") == []
    assert [each["name"] for each in agent.call("list_runners", everybody=True)] == [runner]
    for name, arguments in {
        "run_command": {"command": "true"},
        "run_python": {"code": "1"},
        "read_logs": {},
        "delete_runner": {},
    }.items():
        with pytest.raises(CallFailed, match="NotYourRunner"):
            agent.call(name, runner=runner, **arguments)
    monkeypatch.setenv("GRA_OWNER", "ada")
    agent.call("delete_runner", runner=runner)


@_SAME
@pytest.mark.parametrize(
    ("name", "stdin", "reason", "said"),
    [
        ("run_command", "{}", "InvalidConfiguration", "runner"),
        ("run_command", '{"runner": "runner-1", "cmd": "ls"}', "InvalidConfiguration", "cmd"),
        ("read_logs", '{"runner": "runner-1", "tail": 0}', "InvalidConfiguration", "tail"),
        ("create_runner", '{"lifetime": "soon"}', "InvalidConfiguration", "lifetime"),
        ("create_runner", '{"profile": "huge"}', "UnknownProfile", "huge"),
        ("create_runner", "[1]", "InvalidConfiguration", "object"),
        ("create_runner", "{", "InvalidArguments", "JSON"),
        ("make_coffee", "{}", "UnknownFunction", "make_coffee"),
        ("get_runner", '{"runner": "../x"}', "RunnerNotFound", "../x"),
    ],
)
def test_a_call_that_is_wrong_says_what_is(name: str, stdin: str, reason: str, said: str) -> None:
    done = subprocess.run(
        [_PROGRAM, name],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_BOUND,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout == ""
    error = json.loads(done.stderr)
    assert error["reason"] == reason
    assert said in error["message"]
    assert gra_json("list") == []


@_SAME
@pytest.mark.parametrize(
    ("form", "where"),
    [
        ("gemini", ["parametersJsonSchema"]),
        ("openai", ["function", "parameters"]),
        ("anthropic", ["input_schema"]),
        ("mcp", ["inputSchema"]),
    ],
)
def test_functions_are_described_for_each_vendor(form: str, where: list[str]) -> None:
    done = subprocess.run(
        [_PROGRAM, "--format", form], capture_output=True, timeout=_BOUND, check=True
    )
    for schema in json.loads(done.stdout):
        for key in where:
            schema = schema[key]
        jsonschema.Draft202012Validator.check_schema(schema)
        assert all(field["description"] for field in schema["properties"].values())


# -- by the shell ----------------------------------------------------------------------------------


def test_the_commands_of_the_page_for_agents_do_what_it_says(tmp_path: Path) -> None:
    """Each line of its example, one after the other, in one shell."""
    text = (ROOT / "docs" / "ai-tools.md").read_text(encoding="utf-8")
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    programs = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block[1]],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BOUND,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "42" in done.stdout
    assert gra_json("list") == []
