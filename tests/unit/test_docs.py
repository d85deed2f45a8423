"""The documentation says what the code does: tables, names, examples and command lines."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

import gra_provisioner
from gra_provisioner import environment, errors
from gra_provisioner.agent import compression, control, session, wire
from gra_provisioner.agent.kernel import CHANNELS
from gra_provisioner.agent.s3.sidecar import MOUNTS_VARIABLE
from gra_provisioner.backends.kubernetes import naming
from gra_provisioner.backends.kubernetes.manifest import _AGENTS_ENV
from gra_provisioner.backends.kubernetes.phases import Phase
from gra_provisioner.backends.kubernetes.reasons import Reason
from gra_provisioner.cli import app as cli
from gra_provisioner.cli.lazy import LazyCommand
from gra_provisioner.kernelspecs import kernel_json
from gra_provisioner.mounting import PHASE
from gra_provisioner.pod_schema import Kubernetes, Pod, Requests
from gra_provisioner.profiles import VARIABLES, load_config
from gra_provisioner.provisioner import GraProvisioner
from gra_provisioner.runner import Runner, RunnerLabels
from gra_provisioner.s3_schema import S3, S3Sidecar
from gra_provisioner.schema import (
    PRESETS,
    Buffers,
    ConfigFile,
    Profile,
    Resources,
    Server,
    Settings,
    Ttl,
    Workspace,
)
from gra_provisioner.tunnel.links import Links
from gra_provisioner.units import format_size
from gra_provisioner.workspace.courier import PHASE as SYNCING

ROOT = Path(__file__).parents[2]
PACKAGE = Path(gra_provisioner.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TUNNEL = (ROOT / "docs" / "tunnel.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
KUBERNETES = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

KINDS = ("HELLO", "OPEN", "DATA", "ACK", "CLOSE", "RESET", "PING", "PONG", "BYE", "REJECT")


def _tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Each Markdown table as (head, rows); backticks and spaces around a cell are dropped."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        lines = [line.strip("|").split("|") for line in block.splitlines()]
        head, _, *rows = ([cell.strip().strip("`") for cell in line] for line in lines)
        yield head, rows


def _table(text: str, *head: str) -> list[list[str]]:
    """The rows of the only table that begins with these columns."""
    found = [rows for columns, rows in _tables(text) if columns[: len(head)] == list(head)]
    assert len(found) == 1, f"tables that begin with {head}: {len(found)}"
    return found[0]


def _blocks(text: str, language: str) -> list[str]:
    """The content of the fenced blocks of this language, "" for those that name none."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for named, content in blocks if named == language]


def _sources() -> Iterator[ast.AST]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _names(cell: str) -> set[str]:
    return set(re.findall(r"`?([A-Za-z_]\w*)`?", cell))


# -- tunnel.md ------------------------------------------------------------------------------


def test_the_table_of_kinds_is_that_of_the_code() -> None:
    rows = _table(TUNNEL, "Kind", "Name")
    assert {name: int(kind) for kind, name, *_ in rows} == {n: getattr(wire, n) for n in KINDS}


def test_the_table_of_limits_is_that_of_the_code() -> None:
    limits = {name: int(value) for name, value, _ in _table(TUNNEL, "Limit", "Bytes")}
    assert limits == {
        "HEADER_SIZE": wire.HEADER_SIZE,
        "MAX_PAYLOAD": wire.MAX_PAYLOAD,
        "MAX_DATA": wire.MAX_DATA,
        "WINDOW": session.WINDOW,
        "ACK_EVERY": session.ACK_EVERY,
        "MAX_LINE": control.MAX_LINE,
    }


def test_the_table_of_the_header_is_that_of_the_code() -> None:
    sizes = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
    at = 0
    for offset, type_, *_ in _table(TUNNEL, "Offset", "Type"):
        assert int(offset) == at
        at += sizes[type_]
    assert at == wire.HEADER_SIZE
    assert wire.PREFACE.hex(" ") in TUNNEL
    assert f"The version is {wire.VERSION}." in TUNNEL
    assert f"At\nmost {control.MAX_TASKS} requests" in TUNNEL


def _functions_of_the_agent(prefix: str) -> set[str]:
    tree = ast.parse((PACKAGE / "agent" / "server.py").read_text(encoding="utf-8"))
    nodes = ast.walk(tree)
    return {n.name for n in nodes if isinstance(n, ast.AsyncFunctionDef) and prefix in n.name}


def test_every_method_of_the_agent_is_in_the_table() -> None:
    methods = {name for name, *_ in _table(TUNNEL, "Method", "Params")}
    as_functions = {"_do_" + name.replace(".", "_") for name in methods}
    assert as_functions == _functions_of_the_agent("_do_")


def test_every_event_of_the_agent_is_in_the_table() -> None:
    called = ("event", "_broadcast", "_on_event")
    sent = set()
    for path in sorted((PACKAGE / "agent").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in called and node.args and isinstance(node.args[0], ast.Constant):
                sent.add(node.args[0].value)
    assert {name for name, *_ in _table(TUNNEL, "Event", "Data")} == sent


def test_the_fields_of_hello_are_those_of_the_code() -> None:
    async def dial(factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        raise NotImplementedError

    def new_session() -> session.Session:
        return session.Session("s", lambda stream: stream.handler, lambda: None)

    hello = Links(dial, new_session, lambda error: None, keep=1.0)._hello()
    fields = {name for name, *_ in _table(TUNNEL, "Field", "Type", "Meaning")}
    assert fields == set(hello)


def test_the_codecs_are_those_of_the_code() -> None:
    rows = _table(TUNNEL, "Flags", "Name", "Payload of DATA")
    named = {(name.strip("`"), int(flags)) for flags, name, _ in rows if name}
    assert named == {(codec.name, codec.flag) for codec in compression.codecs().values()}


def test_every_channel_is_named() -> None:
    target = dict(row[:2] for row in _table(TUNNEL, "kind", "Further fields"))
    assert set(CHANNELS) <= _names(target["kernel"])


class _Frames:
    """What a decoder found, as (kind, stream, offset, payload)."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int, bytes]] = []

    def on_frame(self, kind: int, stream: int, offset: int, payload: bytes) -> None:
        self.seen.append((kind, stream, offset, payload))

    def on_data(self, stream: int, offset: int, piece: memoryview) -> None:
        self.seen.append((wire.DATA, stream, offset, bytes(piece)))


def _dumped(who: str) -> bytes:
    """All bytes that the example says this end has sent; the text column must fit them."""
    data = bytearray()
    for block in _blocks(TUNNEL, f"hexdump {who}"):
        for at, line in enumerate(block.splitlines()):
            piece = bytes.fromhex(line[6:53])
            assert int(line[:4], 16) == 16 * at
            assert line[55:] == "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
            data += piece
    return bytes(data)


def _decoded(who: str) -> tuple[dict[str, object], list[tuple[int, int, int, bytes]]]:
    greeted = wire.Greeting().feed(_dumped(who))
    assert greeted is not None
    kind, hello, rest = greeted
    assert kind == wire.HELLO
    frames = _Frames()
    wire.FrameDecoder(frames).feed(rest)
    return hello, frames.seen


def test_the_example_is_a_conversation() -> None:
    hello, (request, ack, ping, bye) = _decoded("client")
    answer, (response, pong) = _decoded("agent")
    assert hello["session"] == answer["session"]
    assert hello["version"] == answer["version"] == wire.VERSION
    assert request[:3] == response[:3] == (wire.DATA, session.CONTROL, 0)
    assert json.loads(request[3])["method"] == "kernel.connection"
    assert json.loads(response[3])["error"]["reason"] == "NoKernel"
    assert ack == (wire.ACK, session.CONTROL, len(response[3]), b"")
    assert ping[0] == wire.PING
    assert pong == (wire.PONG, 0, ping[2], b"")
    assert bye[0] == wire.BYE


# -- configuration.md -----------------------------------------------------------------------


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    tables = {
        "buffers": Buffers,
        "kubernetes": Kubernetes,
        "requests": Requests,
        "resources": Resources,
        "server": Server,
        "s3_sidecar": S3Sidecar,
        "ttl": Ttl,
        "workspace": Workspace,
    }
    for name in model.model_fields:
        if name in tables:
            yield from _fields(tables[name], f"{name}.")
        else:
            yield prefix + name


def test_every_field_of_the_configuration_is_in_a_table() -> None:
    top = {name for name, *_ in _table(CONFIGURATION, "Field", "Type", "Default")}
    assert top == set(_fields(ConfigFile))
    pod = {name for name, *_ in _table(CONFIGURATION, "Pod field", "Type, unit")}
    assert pod == set(_fields(Pod))
    profile = {name for name, *_ in _table(CONFIGURATION, "Field", "Type, unit")}
    assert profile == set(_fields(Profile))
    s3 = {name for name, *_ in _table(CONFIGURATION, "S3 field", "Type")}
    assert s3 == set(S3.model_fields)


def test_the_table_of_presets_is_that_of_the_code() -> None:
    rows = {name: sizes for name, *sizes in _table(CONFIGURATION, "Profile", "CPU")}
    assert rows == {
        name: [
            f"{preset.resources.cpu:g}",
            format_size(preset.resources.memory),
            format_size(preset.resources.ephemeral_storage),
            str(preset.resources.gpu),
        ]
        for name, preset in PRESETS.profiles.items()
    }


def test_every_variable_is_in_the_table_and_no_other_is_named() -> None:
    rows = _table(CONFIGURATION, "Variable", "Sets")
    assert {name: field for name, field, _ in rows} == VARIABLES
    for page in PAGES:
        named = set(re.findall(r"\bGRA_[A-Z0-9_]+", page.read_text(encoding="utf-8")))
        assert named <= {*VARIABLES, *_AGENTS_ENV, MOUNTS_VARIABLE}, page.name


def test_every_trait_is_in_the_table_with_its_default() -> None:
    rows = _table(CONFIGURATION, "Trait", "Type, unit")
    documented = {name.partition(".")[2]: default for name, _, default, _ in rows}
    traits = GraProvisioner.class_own_traits(config=True)
    assert documented == {n: json.dumps(t.default_value) for n, t in traits.items()}


def test_every_private_variable_is_named() -> None:
    text = CONFIGURATION.partition("## Environment")[2].partition("\n## ")[0]
    named = {name.replace("…", ".*") for name in re.findall(r"`([A-Z_…]+)`", text)}
    private = set(re.sub(r"\s", "", environment._PRIVATE.pattern).split("|"))
    assert private | environment._IMPOSSIBLE | environment._ALWAYS <= named


def test_the_examples_of_configuration_are_valid(tmp_path: Path) -> None:
    examples = [block for page in PAGES for block in _blocks(page.read_text("utf-8"), "toml")]
    assert len(examples) >= 3
    for example in examples:
        file = tmp_path / "config.toml"
        file.write_text(example, encoding="utf-8")
        config = load_config({}, [file])
        assert "quick" in config.profiles or config.kubernetes.namespace


def test_the_example_of_a_kernelspec_is_what_install_writes() -> None:
    (example,) = _blocks(CONFIGURATION, "json")
    stanza = json.loads(f"{{{example}}}")["metadata"]["kernel_provisioner"]
    written = kernel_json("small", Settings(), "python")["metadata"]["kernel_provisioner"]
    assert stanza["provisioner_name"] == written["provisioner_name"]
    assert stanza["config"]["profile"] == written["config"]["profile"]


# -- cli.md ---------------------------------------------------------------------------------


def test_the_fields_of_a_runner_are_those_of_the_code() -> None:
    runner = Runner("runner-1", "u", "local", "small", RunnerLabels("me"), 0.0).public()
    (example,) = _blocks(CLI, "json")
    assert list(json.loads(example)) == list(runner)
    assert set(json.loads(example)["usage"]) == set(runner["usage"])
    documented = {
        name
        for field, *_ in _table(CLI, "Field", "Type")
        for name in (part.strip(" `").partition(".")[0] for part in field.split(","))
    }
    assert documented == set(runner)


def test_the_table_of_exit_codes_is_that_of_the_help() -> None:
    table = {int(code): text.replace("`", "") for code, text in _table(CLI, "Code", "Meaning")}
    in_help = re.findall(r"^ *(\d+)  (.*)$", cli._EXIT_CODES, re.MULTILINE)
    assert table == {int(code): text for code, text in in_help}


def _commands() -> list[str]:
    """Every ``gra …`` in a block or in the text."""
    found = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found.update(re.findall(r"^\$ (gra .*)$", "".join(_blocks(text, "")), re.MULTILINE))
        found.update(re.findall(r"`(gra [^`\n]*)`", text))
    # The version that a client gives, and "any command".
    return sorted(line for line in found if not re.match(r"gra (\d|…)", line))


def _loaded(command: Any) -> Any:
    return command.load() if isinstance(command, LazyCommand) else command


def _command(words: list[str]) -> tuple[list[str], set[str]]:
    """The names of the command that ``words`` begin with, and the options that it has."""
    command = typer.main.get_command(cli.app)
    path = []
    while getattr(command, "commands", None):
        name = words[len(path)]
        assert name in command.commands, f"there is no command {' '.join([*path, name])!r}"
        command = _loaded(command.commands[name])
        path.append(name)
    options = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    return path, {*options, "--help", "-h"}


@pytest.mark.parametrize("line", _commands())
def test_the_command_line_exists(line: str) -> None:
    # What stands behind -- is another program's.
    words = line.partition(" -- ")[0].split()[1:]
    path, options = _command(words)
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options
    result = CliRunner().invoke(cli.app, [*path, "--help"])
    assert result.exit_code == 0, result.output


def test_every_command_is_in_the_table() -> None:
    def leaves(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        commands = getattr(command, "commands", None)
        if not commands:
            yield " ".join(path)
        for name, child in (commands or {}).items():
            yield from leaves(_loaded(child), (*path, name))

    rows = _table(CLI, "Command", "What it does")
    documented = {" ".join(re.findall(r"[a-z]+", re.sub(r" [A-Z-].*", "", row[0]))) for row in rows}
    assert documented == set(leaves(typer.main.get_command(cli.app), ("gra",)))


# -- errors.md ------------------------------------------------------------------------------


def _reasons_in_errors() -> dict[str, str]:
    """Reason -> the second column, of all tables."""
    return {
        reason.strip(" `"): row[1]
        for head, rows in _tables(ERRORS)
        if head[0] == "Reason"
        for row in rows
        for reason in row[0].split(",")
    }


def test_every_error_class_is_in_a_table_with_its_exit_code() -> None:
    documented = _reasons_in_errors()
    for kind in errors._tree(errors.GraError):
        if kind in (errors.GraError, errors.KernelDied, errors.RequestError):
            assert f"`{kind.__name__}`" in ERRORS
            continue
        assert documented.get(kind.reason) == str(kind.exit_code), kind.reason


def test_every_reason_that_the_code_gives_is_in_a_table() -> None:
    given = set()
    for node in _sources():
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0] if node.args else None
            if name in ("AgentError", "reset", "on_reset", "_forget", "_reset_frame"):
                candidates = node.args[:2]
            else:
                candidates = [k.value for k in node.keywords if k.arg == "reason"]
            values = [c.value for c in candidates if isinstance(c, ast.Constant)]
            if name == "end" and isinstance(first, ast.Constant):
                values.append(str(first.value).partition(":")[0])
            given.update(v for v in values if re.fullmatch(r"([A-Z][a-z0-9]+)+", str(v)))
    assert len(given) > 30
    assert given <= {*_reasons_in_errors(), "RunnerEnded"}


def test_every_reason_of_the_kubernetes_backend_is_in_a_table() -> None:
    assert {reason.value for reason in Reason} <= set(_reasons_in_errors())


# -- kubernetes.md --------------------------------------------------------------------------


def _rights(role: str) -> set[tuple[str, str]]:
    """The (verb, resource) pairs that a Role allows."""
    return {
        (verb, resource)
        for rule in yaml.safe_load(role)["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }


def _requests_of_the_backend() -> Iterator[tuple[str, str]]:
    """The (verb, resource) pairs that the Kubernetes backend asks for."""
    verbs = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
    for path in sorted((PACKAGE / "backends" / "kubernetes").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id == "_open":
                (subresource,) = (a.value for a in node.args if isinstance(a, ast.Constant))
                # Up to Kubernetes 1.34, and from 1.35 on.
                yield from (("get", f"pods/{subresource}"), ("create", f"pods/{subresource}"))
            if not isinstance(node.func, ast.Attribute):
                continue
            # The resource of the only reflector.
            words = [a.value if isinstance(a, ast.Constant) else "pods" for a in node.args]
            if node.func.attr == "request" and words[0] in ("GET", *verbs):
                yield verbs.get(words[0]) or ("get" if words[2:] else "list"), words[1]
            elif node.func.attr == "watch":
                yield "watch", words[0]
            elif node.func.attr == "log":
                yield "get", "pods/log"


def test_the_role_allows_what_the_backend_asks_for_and_no_more() -> None:
    asked = set(_requests_of_the_backend())
    instead_of_port_forward = {("get", "pods/exec"), ("create", "pods/exec")}
    assert instead_of_port_forward < asked
    (role,) = _blocks(KUBERNETES, "yaml")
    assert _rights(role) == asked - instead_of_port_forward


def test_the_role_of_the_readme_is_that_of_the_page() -> None:
    (short,), (role,) = _blocks(README, "yaml"), _blocks(KUBERNETES, "yaml")
    assert yaml.safe_load(short) == yaml.safe_load(role)


def test_every_key_of_a_pods_metadata_is_in_the_table() -> None:
    documented = {key for key, *_ in _table(KUBERNETES, "Key", "Label", "Annotation")}
    own = {v for v in vars(naming).values() if isinstance(v, str) and v.startswith(naming.PREFIX)}
    assert documented == {*own - {naming.PREFIX}, naming.MANAGED_BY[0]}
    labels = naming.runner_labels("runner-1", "small", RunnerLabels("me", "id"))
    rows = _table(KUBERNETES, "Key", "Label", "Annotation")
    assert {key for key, label, *_ in rows if label} == set(labels)


def test_every_phase_of_a_pod_is_in_the_table() -> None:
    phases = [phase for phase, _ in _table(KUBERNETES, "Phase", "What goes on")]
    assert set(phases) == {*(phase.value for phase in Phase), PHASE, SYNCING, "kernel"}


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#][^)]*|#[^)]*)\)", text):
            if target.startswith("http"):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in slugs, f"{page.name}: {target}"
