"""The documents are what the plain data says, and requests are taken as they are meant."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from gra_provisioner.diagnosis import good, of_error
from gra_provisioner.documents import answers, diagnosis, executions, logs, runners, s3, schemas
from gra_provisioner.documents.base import Error
from gra_provisioner.documents.requests import Create, Exec, ExecOnce, ExecStream
from gra_provisioner.documents.s3_requests import S3, S3Credentials
from gra_provisioner.errors import ConfigError, GraError
from gra_provisioner.execution import Bounded, Ended, Execution, PieceEncoder, ProcessExit
from gra_provisioner.logs import LogLine
from gra_provisioner.profiles import load_config, resolve
from gra_provisioner.progress import LaunchProgress
from gra_provisioner.runner import (
    Change,
    ChangeKind,
    KernelState,
    KnownResources,
    Runner,
    RunnerLabels,
    RunnerStatus,
    Secret,
    Stale,
    Usage,
)
from gra_provisioner.server.about import _profile
from gra_provisioner.server.access import Access
from gra_provisioner.server.handlers import LARGEST_BODY, parsed_body
from gra_provisioner.server.status import status_of
from gra_provisioner.units import parse_cpu, parse_duration, parse_size
from gra_provisioner.validation import validated
from tools.schemas import FOLDER
from tools.schemas import schemas as written_schemas

_RUNNER = Runner("runner-1", "u", "local", "small", RunnerLabels("ada"), 1.5)
_FULL = dataclasses.replace(
    _RUNNER,
    labels=RunnerLabels("ada", "k", "gra", "a.ipynb", "laptop", {"team": "a"}),
    clients=1,
    usage=Usage(0.5, 100, 200),
    pid=12,
    resources=KnownResources(0.5, 2**30, 2**40, 1),
    image="example.com/a:1",
)
_ENDED = Ended("runner-1", ProcessExit(None, 9), 1.25, timed_out=True)


def _captured(data: bytes, limit: int) -> Any:
    bounded = Bounded(limit)
    bounded.add(data)
    return bounded.captured()


def _is(model: type[BaseModel], document: Any) -> None:
    """The document has exactly the fields of the model, and their types."""
    text = json.dumps(document)
    parsed = model.model_validate_json(text)
    assert parsed.model_dump(mode="json") == json.loads(text)


@pytest.mark.parametrize("runner", [_RUNNER, _FULL])
def test_a_runner_is_its_document(runner: Runner) -> None:
    _is(runners.Runner, runner.public())
    seen = Access("ada", "visible").public(runner)
    _is(runners.SeenRunner, seen)
    with_reason = {"backend_reason": "because"}
    _is(runners.RunnerWithReason, {**runner.public(), **with_reason})
    _is(runners.SeenRunnerWithReason, {**seen, **with_reason})
    progress = LaunchProgress()
    with progress:
        progress("starting", "runner-1: starting")
        progress("kernel", "runner-1: starting the kernel")
    phases = {"phases": progress.timings()}
    _is(runners.LaunchedRunner, {**runner.public(), **with_reason, **phases})
    _is(runners.MadeRunner, {**seen, **with_reason, **phases})


@pytest.mark.parametrize("kind", ChangeKind)
def test_a_change_is_its_document(kind: ChangeKind) -> None:
    of_a_runner = kind in (ChangeKind.ADDED, ChangeKind.MODIFIED, ChangeKind.DELETED)
    stale = Stale(1.5, "ClusterUnreachable", "What.", "Do.") if kind is ChangeKind.STALE else None
    _is(runners.Change, Change(kind, _FULL if of_a_runner else None, stale).public())


@pytest.mark.parametrize("status", RunnerStatus)
@pytest.mark.parametrize("kernel", KernelState)
def test_every_state_is_known(status: RunnerStatus, kernel: KernelState) -> None:
    _is(runners.Runner, dataclasses.replace(_RUNNER, status=status, kernel=kernel).public())


@pytest.mark.parametrize("data", [b"", b"text", b"long" * 100, b"\xff", b"\xff" * 100])
def test_an_execution_is_its_document(data: bytes) -> None:
    _is(executions.Ended, _ENDED.public())
    done = Execution(_ENDED, _captured(data, 10), _captured(b"", 10))
    _is(executions.Execution, done.public())


def test_pieces_of_output_are_their_documents() -> None:
    encoder = PieceEncoder("stdout")
    for piece in encoder.encode("grün".encode()):
        _is(executions.TextPiece, piece)
    for piece in encoder.encode(b"\xff"):
        _is(executions.BinaryPiece, piece)


@pytest.mark.parametrize("time", [None, 1.5])
def test_a_line_of_a_log_is_its_document(time: float | None) -> None:
    line = LogLine("runner-1", time, "stdout", "no UTF-8: \udcff")
    _is(logs.LogLine, line.public())
    _is(logs.LogLines, {"lines": [line.public()]})


def test_an_error_is_its_document() -> None:
    _is(Error, GraError("What.", hint="Do.", details={"a": [1, {"b": None}]}).to_dict())


def test_a_profile_is_its_document(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[profiles.odd]\nenv = {SECRET = {from_env = 'NOT_SET'}}\n"
        "[profiles.full]\nenv = {A = 'hidden-value'}\nworking_dir = '/srv'\n"
        "pod = {tolerations = [{key = 'a'}], env = [{name = 'B', value = 'hidden-value'}]}\n"
    )
    config = load_config({}, [file])
    found = {name: _profile(config, name) for name in config.profiles}
    _is(answers.Profiles, {"profiles": list(found.values())})
    assert found["small"]["default"]
    assert found["odd"]["settings"] is None
    assert "NOT_SET" in found["odd"]["error"]["message"]
    assert found["full"]["settings"]["env"] == ["A"]
    assert "hidden-value" not in json.dumps(found)


# -- JSON Schemas ---------------------------------------------------------------------------

_PRINTED = {
    "list": [_RUNNER.public(), _FULL.public()],
    "list-watch": Change(ChangeKind.ADDED, _FULL).public(),
    "get": {**_FULL.public(), "backend_reason": "because"},
    "create": {**_FULL.public(), "backend_reason": "because", "phases": []},
    "delete": {"deleted": ["runner-1"]},
    "exec": Execution(_ENDED, _captured(b"a", 1), _captured(b"\xff", 1)).public(),
    "exec-stream": _ENDED.public(),
    "logs": LogLine("runner-1", None, "agent", "ready").public(),
    "version": {"version": "1", "python": "3.14"},
    "doctor": {
        "profile": "small",
        "backend": "local",
        "backend_reason": "because",
        "findings": [of_error("backend", GraError("x")).public(), good("s3fs", "is here").public()],
    },
    "error": GraError("x").to_dict(),
}


@pytest.mark.parametrize("name", schemas.OF_COMMANDS)
def test_what_a_command_prints_is_valid_and_nothing_else(name: str) -> None:
    schema = schemas.of_command(name)
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schema)
    validator(schema).validate(_PRINTED[name])
    with pytest.raises(jsonschema.ValidationError):
        validator(schema).validate({"name": "runner-1"})


# -- requests -------------------------------------------------------------------------------


def _body(model: Any, document: Any) -> Any:
    return parsed_body(model, json.dumps(document).encode())


def test_a_request_to_create_is_a_layer_of_configuration() -> None:
    body = _body(
        Create,
        {
            "profile": "medium",
            "resources": {"cpu": "500m", "memory": "1Gi", "ephemeral_storage": 2**30, "gpu": 0},
            "env": {"A": "x", "B": {"value": "y"}, "C": {"value": "z", "secret": False}},
            "ttl": {"orphan": "10m", "idle": 60, "lifetime": False},
            "labels": {"example.com/team": "a"},
            "working_dir": "/tmp",
            "image": "example.com/a:1",
        },
    )
    config = load_config({}, [])
    spec = resolve(config, {}, launch=body.launch(), launch_source="request body")
    assert (spec.profile, spec.image, spec.working_dir) == ("medium", "example.com/a:1", "/tmp")
    assert (spec.resources.cpu, spec.resources.memory) == (0.5, 2**30)
    assert spec.env == {"A": "x", "B": Secret("y"), "C": "z"}
    assert (spec.ttl.orphan, spec.ttl.idle, spec.ttl.lifetime) == (600.0, 60.0, None)
    assert spec.pod.labels == {"example.com/team": "a"}


def test_buckets_of_a_request_are_a_layer_of_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[[profiles.small.s3]]\nbucket = "their"\nmount = "/data/their"\n')
    config = load_config({}, [file])
    buckets = [
        {
            "bucket": "lake",
            "prefix": "team/a/",
            "mount": "/data/lake",
            "endpoint": "https://s3.example.com",
            "read_only": True,
            "credentials": {"secret": "lake-key", "access_key": "id"},
        },
        {"bucket": "raw", "via": "fsspec", "credentials": {"anonymous": True}},
        {"via": "volume", "mount": "/data/claim", "claim": "lake"},
    ]

    spec = resolve(config, {}, launch=_body(Create, {"s3": buckets}).launch())

    # In the place of the profile's.
    lake, raw, volume = spec.s3
    assert (lake.bucket, lake.prefix, lake.path) == ("lake", "team/a", "/data/lake")
    assert lake.read_only
    assert lake.credentials.source == "secret"
    assert (lake.credentials.name, lake.credentials.access_key) == ("lake-key", "id")
    assert (raw.via, raw.credentials.source) == ("fsspec", "anonymous")
    assert volume.volume == {"persistentVolumeClaim": {"claimName": "lake"}}
    assert [m.bucket for m in resolve(config, {}, launch=_body(Create, {}).launch()).s3] == [
        "their"
    ]


@pytest.mark.parametrize(
    ("bucket", "field"),
    [
        ({"bucket": "Lake", "mount": "/data"}, "bucket"),
        ({"bucket": "lake"}, "mount"),
        ({"bucket": "lake", "mount": "/proc/lake"}, "mount"),
        ({"bucket": "lake", "mount": "/data", "endpoint": "s3.example.com"}, "endpoint"),
        ({"bucket": "lake", "mount": "/data", "prefix": "../a"}, "prefix"),
        ({"bucket": "lake", "mount": "/data", "claim": "a"}, "claim"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said_at_its_field(
    bucket: dict[str, str], field: str
) -> None:
    body = _body(Create, {"s3": [{"bucket": "fine", "mount": "/fine"}, bucket]})
    with pytest.raises(ConfigError) as refused:
        resolve(load_config({}, []), {}, launch=body.launch(), launch_source="request body")
    assert refused.value.details["fields"] == [f"s3[1].{field}"]


def test_what_is_left_out_is_as_in_the_profile() -> None:
    config = load_config({}, [])
    body = _body(Create, {"resources": {"cpu": 1}, "ttl": {}})
    assert body.launch() == {"resources": {"cpu": 1.0}, "ttl": {}}
    spec = resolve(config, {}, launch=body.launch())
    assert spec.resources == dataclasses.replace(resolve(config, {}).resources, cpu=1.0)
    assert spec.ttl == resolve(config, {}).ttl


_REFUSED: list[tuple[Any, Any, str]] = [
    (Create, {"colour": "red"}, "colour"),
    (Create, {"resources": {"cpu": "lots"}}, "resources.cpu"),
    (Create, {"resources": {"cpu": True}}, "resources.cpu"),
    (Create, {"resources": {"gpu": 1.5}}, "resources.gpu"),
    (Create, {"resources": {"memory": None}}, "resources.memory"),
    (Create, {"resources": []}, "resources"),
    (Create, {"env": {"A": 1}}, "env.A"),
    # It would read the server's environment.
    (Create, {"env": {"A": {"from_env": "HOME"}}}, "env.A.from_env"),
    (Create, {"env": {"1": "x"}}, "env.1"),
    (Create, {"ttl": {"orphan": None}}, "ttl.orphan"),
    (Create, {"ttl": {"orphan": 0}}, "ttl.orphan"),
    (Create, {"labels": {"a b": "c"}}, "labels"),
    (Create, {"s3": {}}, "s3"),
    (Create, {"s3": [{"bucket": 1}]}, "s3[0].bucket"),
    (Create, {"s3": [{"bucket": "lake", "credentials": {}}]}, "s3[0].credentials.secret"),
    (Create, {"s3": [{"credentials": {"profile": "a", "secret_key": "b"}}]}, "s3[0].credentials"),
    # It would read the server's environment.
    (
        Create,
        {"s3": [{"credentials": {"access_key": {"from_env": "A"}, "secret": "b"}}]},
        "s3[0].credentials.access_key",
    ),
    (Create, {"wait": "yes"}, "wait"),
    (Create, {"wait": False, "kernel": True}, "kernel"),
    (Create, [], ""),
    (Create, None, ""),
    (ExecOnce, {}, "argv"),
    (ExecOnce, {"argv": ["a"], "code": "b"}, "argv"),
    (ExecOnce, {"code": "b", "stdin": "c"}, "stdin"),
    (ExecOnce, {"argv": []}, "argv"),
    (ExecOnce, {"argv": "ls"}, "argv"),
    (ExecOnce, {"argv": ["a\0b"]}, "argv[0]"),
    (ExecOnce, {"argv": ["a"], "env": {"a=b": "c"}}, "env"),
    (ExecOnce, {"argv": ["a"], "stdin": {"base64": "%"}}, "stdin"),
    (ExecOnce, {"argv": ["a"], "stdin": {"text": "x"}}, "stdin"),
    (ExecOnce, {"argv": ["a"], "timeout": 0}, "timeout"),
    (ExecOnce, {"argv": ["a"], "timeout": True}, "timeout"),
    (ExecOnce, {"argv": ["a"], "limit": -1}, "limit"),
    (ExecOnce, {"argv": ["a"], "limit": 1 << 40}, "limit"),
    (ExecOnce, {"argv": ["a"], "on_disconnect": "keep"}, "on_disconnect"),
    (ExecStream, {"argv": ["a"], "on_disconnect": "stay"}, "on_disconnect"),
    (ExecStream, {"argv": ["a"], "limit": 1}, "limit"),
]


@pytest.mark.parametrize(("model", "document", "named"), _REFUSED)
def test_what_is_wrong_with_a_body_is_named(model: Any, document: Any, named: str) -> None:
    with pytest.raises(GraError) as refused:
        _body(model, document)
    assert (refused.value.code, status_of(refused.value)) == ("InvalidRequest", 422)
    assert refused.value.message.startswith(f"request body: {named}")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"NaN",
        b"\xff",
        b'{"code": "\\ud800"}',
        b"[" * 10_000,
        b'{"timeout": ' + b"1" * 10_000 + b"}",
        b"{} {}",
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(GraError) as refused:
        parsed_body(ExecOnce, raw)
    assert (refused.value.code, status_of(refused.value)) == ("MalformedJson", 400)


def test_a_body_that_is_too_large_is_refused() -> None:
    with pytest.raises(GraError) as refused:
        parsed_body(ExecOnce, b" " * (LARGEST_BODY + 1))
    assert status_of(refused.value) == 413


def test_stdin_is_text_or_bytes() -> None:
    assert _body(ExecOnce, {"argv": ["a"], "stdin": "grün"}).stdin == "grün".encode()
    assert _body(ExecOnce, {"argv": ["a"], "stdin": {"base64": "/w=="}}).stdin == b"\xff"


def test_values_of_variables_are_in_no_error() -> None:
    for model in (Create, ExecOnce):
        with pytest.raises(GraError) as refused:
            _body(model, {"env": {"A": ["s3cret"], "B": {"value": 5, "x": "s3cret"}}})
        assert "s3cret" not in json.dumps(refused.value.to_dict())


# -- the patterns are the grammar -----------------------------------------------------------


def _accepts(schema: Any, value: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def _schema(model: type[BaseModel], field: str) -> Any:
    return model.model_json_schema()["properties"][field]


_UNITS = {
    "cpu": (parse_cpu, "resources"),
    "memory": (parse_size, "resources"),
    "orphan": (parse_duration, "ttl"),
}
_WORDS = st.from_regex(r"\A[0-9.+eEkKMGTPEimnudhs]{1,8}\Z") | st.sampled_from(
    ["never", "2Gi", "500m", "1h30m", "0", "1e3", "+1", "1.5Ki", "", " 1"]
)


@given(st.sampled_from(list(_UNITS)), _WORDS)
def test_what_is_taken_as_a_size_fits_its_schema(field: str, text: str) -> None:
    parse, table = _UNITS[field]
    schema = Create.model_json_schema()["$defs"][table.title()]["properties"][field]
    try:
        parse(text)
    except ValueError:
        taken = False
    else:
        taken = True
        assert _accepts(schema, text)
    try:
        validated(Create, {table: {field: text}}, "request body")
    except ConfigError:
        assert not taken
    else:
        assert taken


def test_what_cannot_be_taken_back_is_no_null() -> None:
    for field in ("orphan", "idle", "lifetime"):
        schema = Create.model_json_schema()["$defs"]["Ttl"]["properties"][field]
        assert not _accepts(schema, None)
        assert _accepts(schema, False)


def test_every_field_of_every_document_is_described() -> None:
    for module in (answers, diagnosis, executions, logs, runners, s3):
        for model in vars(module).values():
            if isinstance(model, type) and issubclass(model, BaseModel):
                for name, schema in model.model_json_schema()["properties"].items():
                    plain = not {"$ref", "const"} & set(schema) and "items" not in schema
                    assert not plain or schema.get("description"), f"{model.__name__}.{name}"
    for request in (Create, Exec, ExecOnce, ExecStream, S3, S3Credentials):
        for name, schema in request.model_json_schema()["properties"].items():
            assert schema.get("description"), f"{request.__name__}.{name}"


def test_the_schemas_in_the_documentation_are_those_of_the_models() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert written == written_schemas(), "run: make schemas"
