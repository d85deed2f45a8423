"""What the REST API takes in bodies.  Unknown fields are refused, types are strict.

What a value may be is checked where it is checked for every source of configuration
(:mod:`gra_provisioner.units`, :mod:`gra_provisioner.profiles`); the patterns here tell it to those
who read the schema.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from ..execution import LIMIT
from ..fields import ProfileName, Table, Text, VariableName, wrong_field
from ..pod_schema import LabelKey, LabelValue
from ..units import parse_cpu, parse_duration, parse_size
from .s3_requests import S3

if TYPE_CHECKING:
    from typing_extensions import Self

_QUANTITY = r"^[+]?([0-9]{1,30}([.][0-9]{0,30})?|[.][0-9]{1,30})"
_EXPONENT = "[eE][+-]?[0-9]{1,2}"
_CPU = f"{_QUANTITY}([KMGTPE]i|[numkMGTPE]|{_EXPONENT})?$"
_SIZE = f"{_QUANTITY}([KMGTPE]i|[kMGTPE]|{_EXPONENT})?$"
_DURATION = "^(([0-9]{1,12}([.][0-9]{1,9})?[dhms])+|never)$"
_NO_NUL = r"^[^\u0000]*$"

# What a request may hold of a command's output, and for how long it may go on.
LARGEST_LIMIT = 64 << 20
LONGEST_TIMEOUT = 30 * 86400.0


def _schema(*alternatives: Mapping[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [dict(each) for each in alternatives]})


def _given(value: object) -> object:
    # In configuration a null takes something back; here there is nothing to take back.
    if value is None:
        raise ValueError("must be given, or left out")
    return value


def _encoded(value: object) -> bytes:
    """The bytes of a text or of ``{"base64": …}``."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Mapping) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("must be base64 (RFC 4648, section 4)") from None
    raise ValueError('must be a text or {"base64": "…"}')


def _variable_of_exec(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError("must be the name of a variable: not empty, without '=' and NUL")
    return name


Cpus = Annotated[
    float,
    BeforeValidator(parse_cpu),
    _schema(
        {"type": "number", "minimum": 0.001, "maximum": 2**20}, {"type": "string", "pattern": _CPU}
    ),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    _schema(
        {"type": "number", "minimum": 0, "maximum": 2**63 - 1},
        {"type": "string", "pattern": _SIZE},
    ),
]
TimeToLive = Annotated[
    float | None,
    BeforeValidator(parse_duration),
    BeforeValidator(_given),
    _schema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 100 * 365 * 86400},
        {"type": "string", "pattern": _DURATION},
        {"const": False},
    ),
]
Variable = Annotated[
    VariableName,
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}),
]
ExecVariable = Annotated[
    Text,
    AfterValidator(_variable_of_exec),
    WithJsonSchema({"type": "string", "pattern": r"^[^=\u0000]+$"}),
]
PlainText = Annotated[Text, WithJsonSchema({"type": "string", "pattern": _NO_NUL})]
# As Kubernetes has them (gra_provisioner.pod_schema), but for what no pattern can say.
Label = Annotated[
    LabelKey,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
            "([.][a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*/)?"
            "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        }
    ),
]
LabelText = Annotated[
    LabelValue,
    WithJsonSchema(
        {"type": "string", "pattern": "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"}
    ),
]
Profile = Annotated[
    ProfileName,
    WithJsonSchema(
        {"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"}
    ),
]
Stdin = Annotated[
    bytes,
    BeforeValidator(_encoded),
    _schema(
        {"type": "string"},
        {
            "type": "object",
            "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
            "required": ["base64"],
            "additionalProperties": False,
        },
    ),
]


class Request(Table):
    """What a client sends.

    A field that is decided elsewhere when it is left out has a ``default_factory``, so that its
    schema shows no default; what was left out is known by ``model_fields_set``.
    """

    model_config = ConfigDict(strict=True)


class Resources(Request):
    """How large a runner is to be. What is left out is as in the profile."""

    cpu: Cpus = Field(default_factory=float, description='Processors: 2, 0.5 or "500m".')
    memory: Bytes = Field(
        default_factory=int, description='Memory: bytes, or a size such as "4Gi".'
    )
    ephemeral_storage: Bytes = Field(
        default_factory=int, description='Disk: bytes, or a size such as "10Gi".'
    )
    gpu: int = Field(default_factory=int, ge=0, le=1 << 20, description="How many GPUs.")


class Ttl(Request):
    """When a runner is to end by itself: seconds, "30m", "12h"; false or "never" for none."""

    orphan: TimeToLive = Field(
        default_factory=float, description="No client has been connected for so long."
    )
    idle: TimeToLive = Field(
        default_factory=float, description="Its kernel has been idle for so long."
    )
    lifetime: TimeToLive = Field(default_factory=float, description="It has existed for so long.")


class SecretValue(Request):
    """A variable's value that is not shown anywhere unless it is said to be no secret."""

    value: PlainText = Field(description="The value.")
    secret: bool = Field(True, description="Whether it is a secret.")


def _value(value: object) -> object:
    return {"value": value, "secret": False} if isinstance(value, str) else value


EnvValue = Annotated[
    SecretValue,
    BeforeValidator(_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _NO_NUL},
                {
                    "type": "object",
                    "properties": {
                        "value": {"type": "string", "pattern": _NO_NUL},
                        "secret": {"type": "boolean", "default": True},
                    },
                    "required": ["value"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class Launch(Request):
    """What a runner is made with. What is left out is as in the profile."""

    profile: Profile = Field(
        default_factory=str,
        description="The profile to make it by. Without it the default profile.",
    )
    image: Annotated[
        PlainText, WithJsonSchema({"type": "string", "pattern": "^[!-~]+$", "maxLength": 4096})
    ] = Field(default_factory=str, description="The image of a pod. A local runner has none.")
    resources: Resources = Field(default_factory=Resources, description="How large it is.")
    env: dict[Variable, EnvValue] = Field(
        default_factory=dict,
        repr=False,
        description='Variables of its kernel: a text, or {"value": "…", "secret": true}.',
    )
    ttl: Ttl = Field(default_factory=Ttl, description="When it ends by itself.")
    labels: dict[Label, LabelText] = Field(
        default_factory=dict, description="Labels to find it by, on top of the profile's."
    )
    working_dir: Annotated[
        PlainText, WithJsonSchema({"type": "string", "pattern": r"^/[^\u0000]*$"})
    ] = Field(default_factory=str, description="The folder in the runner that its kernel runs in.")

    s3: tuple[S3, ...] = Field(
        default_factory=tuple,
        strict=False,
        description="The buckets of S3 in it, in the place of all of the profile's. Keys cannot be "
        "given: credentials say where they are.",
    )

    def launch(self) -> dict[str, Any]:
        """The layer of configuration: ``launch`` of :func:`gra_provisioner.profiles.resolve`."""
        layer = set(Launch.model_fields) - {"labels"}
        given = self.model_dump(exclude_unset=True, include=layer)
        if self.env:
            given["env"] = {
                name: {"value": entry.value, "secret": entry.secret}
                for name, entry in self.env.items()
            }
        if self.labels:
            given["pod"] = {"labels": dict(self.labels)}
        return given


class Create(Launch):
    """A runner to make. What is left out is as in the profile."""

    kernel: bool = Field(
        True,
        description="Whether the profile's kernel is started in it. Without wait there is none, "
        "since nobody is there to start it.",
    )
    wait: bool = Field(
        True,
        description="Whether the answer comes when the runner is ready (201), which may take "
        "minutes, or as soon as it was accepted (202). A client that goes away while it waits "
        "gives the launch up, and nothing is left of it.",
    )

    @model_validator(mode="after")
    def _kernel_needs_waiting(self) -> Self:
        if not self.wait and self.kernel and "kernel" in self.model_fields_set:
            raise wrong_field(
                "kernel",
                "must be false, or be left out, where wait is false: a kernel is started by "
                "whoever waits for its runner",
            )
        return self


class StartKernel(Launch):
    """A kernel of this Jupyter server to start, on a runner of its own.

    What is left out is as in the kernelspec, or else in the profile.
    """

    name: Annotated[
        PlainText, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9._-]+$"})
    ] = Field(
        default_factory=str,
        description="The kernelspec. By default the first of gra's for that profile, or else the "
        "server's default kernelspec, if it is gra's, or gra, or the first of gra's.",
    )
    path: PlainText = Field(
        default_factory=str,
        description="The path of a notebook or folder, as the contents API has it: where the "
        "kernel of a local runner works, and the notebook that the runner was made for. By default "
        "the server's own folder.",
    )


class Exec(Request):
    """A command to run in a runner, beside its kernel: either argv or code."""

    argv: list[PlainText] = Field(
        default_factory=list,
        min_length=1,
        description="The program and its arguments. No shell reads them.",
        examples=[["sh", "-c", "echo hello"]],
    )
    code: str = Field(
        default_factory=str,
        description="Python code, which the Python runs that runs the agent.",
        examples=["print(6 * 7)"],
    )
    env: dict[ExecVariable, PlainText] = Field(
        default_factory=dict, repr=False, description="Variables on top of the runner's own."
    )
    cwd: PlainText | None = Field(
        None,
        min_length=1,
        description="The folder in the runner that it runs in. By default the runner's own.",
    )
    stdin: Stdin = Field(
        default_factory=bytes,
        description='What it reads: a text, or {"base64": "…"}. Not with code.',
    )
    timeout: float | None = Field(
        None,
        gt=0,
        le=LONGEST_TIMEOUT,
        allow_inf_nan=False,
        description="After so many seconds it is ended: SIGTERM to its process group, SIGKILL 5 s "
        "later. Null: never.",
    )

    @model_validator(mode="after")
    def _one_command(self) -> Self:
        given = self.model_fields_set
        if ("argv" in given) == ("code" in given):
            raise wrong_field("argv", "must be given, or code in its place, and not both")
        if "code" in given and "stdin" in given:
            raise wrong_field(
                "stdin", "must be left out where there is code, which is read from it"
            )
        return self


class ExecOnce(Exec):
    """A command to run to its end. A client that goes away hangs up on it."""

    limit: int = Field(
        LIMIT,
        ge=0,
        le=LARGEST_LIMIT,
        description="How many bytes of each of stdout and stderr are kept: both ends.",
    )


class ExecStream(Exec):
    """A command whose output is sent as it comes."""

    on_disconnect: Literal["end", "keep"] = Field(
        "end",
        description="What becomes of it when the client goes away: end hangs up on it (SIGHUP), "
        "keep lets it go on, with its output dropped.",
    )
