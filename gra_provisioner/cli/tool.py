"""``gra tool``, and the program ``gra-tool``: functions for AI tools, described and called.

Without a name the functions' declarations are printed; with one, its arguments are read as a JSON
object from stdin and its answer is printed.  That is what Gemini CLI asks of
``tools.discoveryCommand`` and ``tools.callCommand``, whose second is one word
(google-gemini/gemini-cli, packages/core/src/tools/tool-registry.ts); the declarations come in other
vendors' forms, too.
"""

from __future__ import annotations

import asyncio
import enum
import json
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from .output import print_json, reported_errors
from .runners import open_service
from .stopping import Stop, Stopper, handle_signals, terminated

if TYPE_CHECKING:
    from .tools import Tool

_LARGEST = 16 << 20


class Form(str, enum.Enum):
    """Whose declarations of functions."""

    GEMINI = "gemini"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    MCP = "mcp"


def tool(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[FUNCTION]", help="Its arguments are read from stdin, as JSON."),
    ] = None,
    form: Annotated[
        Form,
        typer.Option("--format", help="Of the declarations, which are printed without a name."),
    ] = Form.GEMINI,
) -> None:
    """Describe functions for AI tools, or call one.

    Answers and errors are JSON, these on stderr. A command in a runner that fails is no error: the
    answer has its exit code.
    """
    from .tools import TOOLS, parameters

    with reported_errors(as_json=True):
        if name is None:
            print_json([_declaration(form, each, parameters(each)) for each in TOOLS.values()])
            return
        if name not in TOOLS:
            raise ConfigError(
                f"There is no function {name!r}; there are: {', '.join(TOOLS)}.",
                reason="UnknownFunction",
            )
        answer = asyncio.run(_call(TOOLS[name], _arguments()))
    if isinstance(answer, Stop):
        raise typer.Exit(answer.exit_code)
    print_json(answer)


def main() -> None:
    """The console script ``gra-tool``: ``gra tool``, for those who need one word."""
    from .app import run_command

    run_command(["tool", *sys.argv[1:]])


def _declaration(form: Form, each: Tool, schema: dict[str, Any]) -> dict[str, Any]:
    about = {"name": each.name, "description": each.description}
    if form is Form.GEMINI:
        return {**about, "parametersJsonSchema": schema}
    if form is Form.OPENAI:
        return {"type": "function", "function": {**about, "parameters": schema}}
    return {**about, "input_schema" if form is Form.ANTHROPIC else "inputSchema": schema}


def _arguments() -> Any:
    """The JSON object on stdin; nothing is none."""
    text = sys.stdin.buffer.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise _bad(f"are more than {_LARGEST:,} bytes")
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        pass
    raise _bad("are not JSON")


def _bad(problem: str) -> ConfigError:
    return ConfigError(
        f"the arguments on stdin {problem}",
        hint="Give them as one JSON object; `gra tool` describes each function's.",
        reason="InvalidArguments",
    )


async def _call(chosen: Tool, arguments: Any) -> Any:
    """The function's answer, or why this process was asked to end before."""
    from ..profiles import load_config
    from ..validation import JSON_RULES, validated

    request = validated(chosen.takes, arguments, chosen.name, rules=JSON_RULES)
    config = load_config(os.environ)
    stopper = Stopper()
    handle_signals(
        {
            signum: partial(stopper.request, terminated(signum))
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
    )
    async with open_service(config) as service:
        return await stopper.until(chosen.run(service, config, request))
