"""What configuration may say: the models of ``gra/config.toml`` and of a kernelspec's ``config``.

Every model stands for one layer's word as well as for the whole: a field that a layer does not
set keeps its built-in default and is not in ``model_fields_set``, and
:meth:`~gra_provisioner.fields.Table.merged` lays one layer over another by that.  Merging is
associative and ``Settings()`` is its identity.

Nothing here does I/O.  Values of the environment stay out of ``repr`` and of error texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, model_validator

from . import runner
from .fields import (
    AbsolutePath,
    AbsolutePathHere,
    Bound,
    Count,
    Cpu,
    Duration,
    OwnerName,
    PositiveSize,
    ProfileName,
    Size,
    Table,
    Text,
    VariableName,
)
from .pod_schema import DnsLabel, DnsSubdomain, Kubernetes, Pod
from .s3_schema import S3, S3Sidecar, fit_together

if TYPE_CHECKING:
    from typing_extensions import Self

CONNECTION_FILE = "{connection_file}"
DEFAULT_KERNEL_ARGV = ("python", "-m", "ipykernel_launcher", "-f", CONNECTION_FILE)


class Resources(Table):
    """What a runner asks for.  The defaults are those of the preset ``small``."""

    cpu: Cpu = 2.0
    memory: PositiveSize = 2 * 2**30
    ephemeral_storage: PositiveSize = 40 * 2**30
    gpu: Count = 0


class Ttl(Table):
    """After how long a runner ends by itself: see :class:`gra_provisioner.runner.Ttl`."""

    orphan: Duration = runner.Ttl.orphan
    idle: Duration = runner.Ttl.idle
    lifetime: Duration = runner.Ttl.lifetime


class Buffers(Table):
    """Output kept for a client that is away: see :class:`gra_provisioner.runner.Buffers`."""

    memory: PositiveSize = runner.Buffers.memory
    spill: Size = runner.Buffers.spill


def _pattern(pattern: str) -> str:
    if not pattern.strip("/"):
        raise ValueError('must be the name of a file or folder, "*.tmp", or a path, "data/raw"')
    return pattern


class Workspace(Table):
    """The folder in which a pod's kernels start: see :class:`gra_provisioner.runner.Workspace`."""

    size: PositiveSize | None = None
    keep: StrictBool = False
    storage_class: DnsSubdomain | None = None
    name: DnsLabel = runner.Workspace.name
    sync: Literal["none", "notebook"] = runner.Workspace.sync
    sync_exclude: tuple[Annotated[Text, AfterValidator(_pattern)], ...] = (
        runner.Workspace.sync_exclude
    )
    sync_limit: PositiveSize = runner.Workspace.sync_limit


class EnvValue(Table):
    """One variable's value: a text, or the client's variable ``from_env`` at launch.

    In the long form a value is a secret unless ``secret = false`` is said.
    """

    value: Annotated[Text | None, Field(repr=False)] = None
    from_env: VariableName | None = None
    secret: StrictBool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.value is None) == (self.from_env is None):
            raise ValueError("must have either value or from_env")
        return self


def _text_or_table(value: object) -> object:
    """A plain text is the short form of a value that is no secret."""
    if isinstance(value, str):
        return {"value": value, "secret": False}
    if not isinstance(value, (Mapping, EnvValue)):
        raise ValueError(
            'must be a text in quotes, {value = "…", secret = true} or {from_env = "NAME"}'
        )
    return value


def _kernel_argv(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words or not words[0]:
        raise ValueError("must be a list that begins with the kernel's command")
    if not any(CONNECTION_FILE in word for word in words):
        raise ValueError(
            f"must contain {CONNECTION_FILE}, the path of the kernel's connection file"
        )
    return words


def _image(name: str) -> str:
    # Whether such an image can be is for the cluster to say: registries have rules of their own.
    if not name or any(character.isspace() for character in name):
        raise ValueError(f'must be the name of an image, for example "{runner.DEFAULT_IMAGE}"')
    return name


class Settings(Table):
    """What a profile, a kernelspec or a launch may set about a runner."""

    description: Text = ""
    resources: Resources = Resources()
    kernel_argv: Annotated[tuple[Text, ...], AfterValidator(_kernel_argv)] = DEFAULT_KERNEL_ARGV
    # Replaced as a whole for each name, so that a later layer's source never meets an earlier's.
    env: dict[VariableName, Annotated[EnvValue, BeforeValidator(_text_or_table)]] = Field(
        default_factory=dict, repr=False
    )
    forward_env: tuple[VariableName, ...] = ()
    working_dir: AbsolutePath | None = None
    ttl: Ttl = Ttl()
    buffers: Buffers = Buffers()
    image: Annotated[Text, AfterValidator(_image)] = runner.DEFAULT_IMAGE
    start_timeout: Bound = runner.RunnerSpec.start_timeout
    pod: Pod = Pod()
    s3: Annotated[tuple[S3, ...], AfterValidator(fit_together)] = ()
    s3_sidecar: S3Sidecar = S3Sidecar()
    allow_privileged_sidecar: StrictBool = False
    workspace: Workspace = Workspace()


class Profile(Settings):
    """A named set of settings, on top of those of the profile that it ``extends``."""

    extends: ProfileName | None = None


class Overrides(Settings):
    """A kernelspec's ``metadata.kernel_provisioner.config``, or the options of one launch."""

    profile: ProfileName | None = None


class Server(Table):
    """What the Jupyter server's REST API lets its user do with other owners' runners.

    ``hidden``: nothing, ``visible``: see them, ``managed``: whatever can be done with one's own.
    """

    other_owners: Literal["hidden", "visible", "managed"] = "visible"


class ConfigFile(Table):
    """``gra/config.toml`` as a whole.  ``state_dir`` is where the local backend keeps runners.

    ``owner`` is whose the runners are that are made; by default the user's name.
    """

    default_profile: ProfileName = "small"
    backend: Literal["auto", "local", "kubernetes"] = "auto"
    state_dir: AbsolutePathHere | None = None
    owner: OwnerName | None = None
    server: Server = Server()
    kubernetes: Kubernetes = Kubernetes()
    profiles: dict[ProfileName, Profile] = Field(default_factory=dict)

    def merged(self, over: Table) -> Self:
        """As :meth:`Table.merged`; profiles of the same name are merged, not replaced."""
        result = super().merged(over)
        if not isinstance(over, ConfigFile):
            return result
        both = self.profiles.keys() & over.profiles.keys()
        merged = {name: self.profiles[name].merged(over.profiles[name]) for name in both}
        return result.model_copy(update={"profiles": {**result.profiles, **merged}})


PRESETS = ConfigFile(
    profiles={
        name: Profile(
            description=description,
            resources=Resources(
                cpu=cpu,
                memory=memory * 2**30,
                ephemeral_storage=ephemeral_storage * 2**30,
                gpu=gpu,
            ),
        )
        for name, description, cpu, memory, ephemeral_storage, gpu in (
            ("small", "For everyday notebooks", 2, 2, 40, 0),
            ("medium", "For data that fills a laptop", 4, 8, 80, 0),
            ("large", "For heavy computations", 8, 32, 160, 0),
            ("gpu", "For what needs a GPU", 4, 8, 80, 1),
        )
    }
)
