"""Layered configuration -> :class:`~gra_provisioner.runner.RunnerSpec`.

The layers, later wins, merged by key (:meth:`gra_provisioner.fields.Table.merged`):

1. the built-in presets ``small``, ``medium``, ``large`` and ``gpu``;
2. ``gra/config.toml`` in each folder of Jupyter's configuration path, from the system's by the
   Python environment's to the user's (``jupyter --paths``);
3. the environment variables of :data:`VARIABLES`;
4. ``metadata.kernel_provisioner.config`` of the kernelspec;
5. the options of one launch.

The first three are the :class:`Config` of a process, the last two belong to one runner
(:func:`resolve`).  A file looks like this::

    default_profile = "quick"
    backend = "auto"                    # or "local", "kubernetes"
    owner = "ada"                       # by default the user's name

    [kubernetes]
    context = "team"
    namespace = "notebooks"

    [server]
    other_owners = "visible"            # or "hidden", "managed"

    [profiles.quick]
    extends = "small"                   # without it: the built-in defaults, those of "small"
    description = "Small and soon gone"
    kernel_argv = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    forward_env = ["LANG"]
    working_dir = "/srv/data"
    resources = {cpu = 1, memory = "1Gi", ephemeral_storage = "10Gi", gpu = 0}
    ttl = {orphan = "30m", idle = "2h", lifetime = false}
    buffers = {memory = "8Mi", spill = "1Gi"}
    image = "registry.example.com/team/notebook:1"
    start_timeout = "10m"

    workspace = {size = "20Gi", keep = true, storage_class = "fast"}
    allow_privileged_sidecar = true     # only for buckets that s3fs mounts in pods
    s3_sidecar = {image = "registry.example.com/gra/s3fs-sidecar:1", memory = "768Mi"}

    [[profiles.quick.s3]]               # see gra_provisioner.s3_schema.S3
    bucket = "lake"
    mount = "/data/lake"
    credentials = {secret = "lake-key"}

    [profiles.quick.pod]                # see gra_provisioner.pod_schema.Pod
    node_selector = {pool = "notebooks"}

    [profiles.quick.env]
    OMP_NUM_THREADS = "1"
    DB_PASSWORD = {from_env = "DB_PASSWORD"}
    API_KEY = {value = "…", secret = true}

A profile inherits all but the description of the one it extends.  Configuration is right as
a whole or refused: every error names its layer, the field, and what is allowed there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jupyter_core.paths import jupyter_config_path

from . import runner
from .errors import ConfigError, UnknownProfile
from .fields import Table
from .owner import this_owner
from .pod_schema import Kubernetes, Pod
from .runner import PodOptions, RunnerSpec, Secret
from .schema import PRESETS, ConfigFile, Overrides, Profile, Settings
from .units import format_count, format_size
from .validation import nearest, quoted, validated

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Environment variables that set something, and the field of the file that each sets: ``*`` is
#: every profile that any file or preset defines.  An empty variable counts as not set.
VARIABLES: Mapping[str, str] = {
    "GRA_PROFILE": "default_profile",
    "GRA_BACKEND": "backend",
    "GRA_CONTEXT": "kubernetes.context",
    "GRA_NAMESPACE": "kubernetes.namespace",
    "GRA_KUBECONFIG": "kubernetes.kubeconfig",
    "GRA_STATE_DIR": "state_dir",
    "GRA_OWNER": "owner",
    "RUNNER_IMAGE": "profiles.*.image",
    "RUNNER_S3_IMAGE": "profiles.*.s3_sidecar.image",
}

_BUILT_IN = "built-in defaults"
# Memory of the sidecar that is not its cache's: s3fs, with what it sends and receives in parts.
_S3FS_NEEDS = 256 * 2**20

# The fields that decide where runners live: the user is told what set them.
_WITH_ORIGIN = ("backend", *(f"kubernetes.{name}" for name in Kubernetes.model_fields))


@dataclass(frozen=True)
class KubernetesConfig:
    """Which cluster is meant.  ``None``: nothing was said.

    ``kubeconfig`` is an absolute path or several, joined as in ``KUBECONFIG``.
    """

    context: str | None = None
    namespace: str | None = None
    kubeconfig: str | None = None


@dataclass(frozen=True)
class Config:
    """What this process is configured to do.  Made by :func:`load_config`.

    ``profiles`` has every profile by name with what it extends and all defaults filled in.
    ``owner`` is whose the runners of this process are; ``other_owners`` what its REST API may do
    with those of others.  ``environ`` is the environment that ``from_env`` refers to.
    ``origins`` has the layer that sets each of ``backend`` and ``kubernetes.…``.
    """

    default_profile: str
    backend: Literal["auto", "local", "kubernetes"]
    state_dir: Path
    kubernetes: KubernetesConfig
    profiles: Mapping[str, Profile]
    owner: str
    other_owners: Literal["hidden", "visible", "managed"]
    environ: Mapping[str, str] = field(repr=False)
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, name: str) -> str:
        """What sets a field, for a sentence: ``/etc/jupyter/gra/config.toml``."""
        return self.origins.get(name, _BUILT_IN)

    def profile(self, name: str, source: str = "profile") -> Profile:
        """The profile of that name; ``source`` says who named it.

        Raises :class:`~gra_provisioner.errors.UnknownProfile`.
        """
        if name not in self.profiles:
            raise _unknown_profile(name, self.profiles, source)
        return self.profiles[name]


def config_files() -> list[Path]:
    """Where ``gra/config.toml`` may be, least important first, as Jupyter orders its own."""
    return [Path(folder, "gra", "config.toml") for folder in reversed(jupyter_config_path())]


def load_config(environ: Mapping[str, str], paths: Iterable[Path] | None = None) -> Config:
    """The configuration of a process with this environment.

    ``paths`` are the files to read, least important first, by default :func:`config_files`;
    those that do not exist are passed over.  Called once by each process that needs it: the
    CLI, the provisioner, the server extension.

    Raises :class:`~gra_provisioner.errors.ConfigError`.
    """
    layers = [("the built-in presets", PRESETS)]
    for path in dict.fromkeys(config_files() if paths is None else paths):
        data = _read_toml(path)
        if data is not None:
            layers.append((str(path), validated(ConfigFile, data, str(path))))
    known = sorted({name for _, layer in layers for name in layer.profiles})
    for variable, name in VARIABLES.items():
        if environ.get(variable):
            source = f"environment variable {variable}"
            data = _nested(name.split("."), environ[variable], known)
            layers.append((source, validated(ConfigFile, data, source, names=False)))

    whole = ConfigFile()
    for _, layer in layers:
        whole = whole.merged(layer)
    profiles = {name: _inherited(name, whole.profiles, layers) for name in whole.profiles}
    if whole.default_profile not in profiles:
        source = f"{_origin(layers, 'default_profile')}: default_profile"
        raise _unknown_profile(whole.default_profile, profiles, source)
    return Config(
        default_profile=whole.default_profile,
        backend=whole.backend,
        state_dir=Path(whole.state_dir) if whole.state_dir else _default_state_dir(environ),
        kubernetes=KubernetesConfig(**whole.kubernetes.model_dump()),
        profiles=profiles,
        owner=this_owner(environ, whole.owner),
        other_owners=whole.server.other_owners,
        environ=dict(environ),
        origins={name: _origin(layers, *name.split(".")) for name in _WITH_ORIGIN},
    )


def resolve(
    config: Config,
    overrides: Mapping[str, Any],
    source: str = "kernelspec metadata",
    *,
    launch: Mapping[str, Any] | None = None,
    launch_source: str = "launch options",
) -> RunnerSpec:
    """What to start for a kernelspec's ``config`` and, on top of it, the options of a launch.

    Both look like a profile with ``profile`` in place of ``extends``:
    ``{"profile": "small", "ttl": {"orphan": "10m"}}``.  ``source`` and ``launch_source`` name
    them in errors, for example ``"kernelspec 'gra' metadata"``.  Called by the provisioner and
    by the launcher for each runner.

    Raises :class:`~gra_provisioner.errors.ConfigError`.
    """
    layers = [
        (source, validated(Overrides, overrides, source)),
        (launch_source, validated(Overrides, launch or {}, launch_source)),
    ]
    name, named_by = config.default_profile, "default_profile"
    for layer_source, layer in layers:
        if layer.profile is not None:
            name, named_by = layer.profile, f"{layer_source}: profile"
    settings: Settings = config.profile(name, named_by)
    for _, layer in layers:
        settings = settings.merged(layer)
    return _spec(name, settings, config.environ)


def _spec(name: str, settings: Settings, environ: Mapping[str, str]) -> RunnerSpec:
    return RunnerSpec(
        profile=name,
        description=settings.description,
        resources=runner.Resources(**settings.resources.model_dump()),
        kernel_argv=settings.kernel_argv,
        env=_environment(name, settings, environ),
        forward_env=settings.forward_env,
        working_dir=settings.working_dir,
        ttl=runner.Ttl(**settings.ttl.model_dump()),
        buffers=runner.Buffers(**settings.buffers.model_dump()),
        image=settings.image,
        start_timeout=settings.start_timeout,
        pod=_pod_options(name, settings),
        s3=tuple(mount.plain() for mount in settings.s3),
        s3_sidecar=_s3_sidecar(name, settings),
        allow_privileged_sidecar=settings.allow_privileged_sidecar,
        workspace=_workspace(name, settings),
    )


def _environment(
    profile: str, settings: Settings, environ: Mapping[str, str]
) -> dict[str, str | Secret]:
    env: dict[str, str | Secret] = {}
    for name, entry in settings.env.items():
        value = environ.get(entry.from_env) if entry.from_env is not None else entry.value
        if value is None:
            raise ConfigError(
                f"profile {profile!r}: env.{name}.from_env: the variable {entry.from_env} is not "
                "set in the environment of the Jupyter client",
                hint=f"Set {entry.from_env} where Jupyter is started, or take it out of env.",
            )
        env[name] = Secret(value) if entry.secret else value
    return env


def _nested(path: Sequence[str], value: str, profiles: Iterable[str]) -> Any:
    """A layer that sets one field: the tables that ``path`` leads through, ``*`` for profiles."""
    if not path:
        return value
    names = profiles if path[0] == "*" else [path[0]]
    return {name: _nested(path[1:], value, profiles) for name in names}


def _pod_options(profile: str, settings: Settings) -> PodOptions:
    """The pod's options, once it is known that no request is for more than the limit."""
    requests, limits = settings.pod.requests, settings.resources
    shown = {"cpu": format_count, "memory": format_size, "ephemeral_storage": format_size}
    for name, form in shown.items():
        request, limit = getattr(requests, name), getattr(limits, name)
        if request is not None and request > limit:
            raise ConfigError(
                f"profile {profile!r}: pod.requests.{name} is {form(request)}, must be at most "
                f"resources.{name}, which is {form(limit)}",
                hint=f"Lower pod.requests.{name}, or raise resources.{name}.",
                details={"field": f"pod.requests.{name}"},
            )
    options = {name: getattr(settings.pod, name) for name in Pod.model_fields}
    return PodOptions(**{**options, "requests": runner.Requests(**requests.model_dump())})


def _s3_sidecar(profile: str, settings: Settings) -> runner.S3Sidecar:
    """The sidecar, once it is known that its cache leaves room for s3fs itself."""
    sidecar = settings.s3_sidecar
    if sidecar.cache > sidecar.memory - _S3FS_NEEDS:
        raise ConfigError(
            f"profile {profile!r}: s3_sidecar.cache is {format_size(sidecar.cache)}, must be at "
            f"most {format_size(max(0, sidecar.memory - _S3FS_NEEDS))}: s3_sidecar.memory, which "
            f"is {format_size(sidecar.memory)}, has the cache in it and "
            f"{format_size(_S3FS_NEEDS)} for s3fs",
            hint="Raise s3_sidecar.memory, or lower s3_sidecar.cache.",
            details={"field": "s3_sidecar.cache"},
        )
    return runner.S3Sidecar(**sidecar.model_dump())


def _workspace(profile: str, settings: Settings) -> runner.Workspace:
    workspace = settings.workspace
    if workspace.storage_class is not None and not workspace.keep:
        raise ConfigError(
            f"profile {profile!r}: workspace.storage_class: must be left out where "
            "workspace.keep is not true: what is not kept is on the node's disk",
            hint="Set workspace.keep, or take workspace.storage_class out.",
            details={"field": "workspace.storage_class"},
        )
    return runner.Workspace(**workspace.model_dump())


def _default_state_dir(environ: Mapping[str, str]) -> Path:
    # https://specifications.freedesktop.org/basedir-spec/latest/: a relative path is ignored.
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base, "gra")
    return Path(environ.get("HOME") or Path.home(), ".local", "state", "gra")


def _read_toml(path: Path) -> dict[str, Any] | None:
    """The file's content, ``None`` if there is no such file."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"is not UTF-8 (at line {line})"
    else:
        try:
            data: dict[str, Any] = tomllib.loads(text)
            return data
        except tomllib.TOMLDecodeError as error:
            end = f"at line {len(text.splitlines())}, the end"
            problem = f"is not valid TOML: {error}".replace("at end of document", end)
    # Outside of the handlers: the parser's exception may hold the text, secrets included.
    raise ConfigError(f"{path} {problem}", hint=f"Correct {path}.", details={"source": str(path)})


def _inherited(
    name: str, profiles: Mapping[str, Profile], layers: Sequence[tuple[str, ConfigFile]]
) -> Profile:
    """The profile laid over all that it extends."""
    chain = [name]
    while (parent := profiles[chain[-1]].extends) is not None:
        source = f"{_origin(layers, 'profiles', chain[-1], 'extends')}: "
        source += f"profiles.{chain[-1]}.extends"
        if parent not in profiles:
            raise _unknown_profile(parent, profiles, source)
        if parent in chain:
            circle = " -> ".join([*chain[chain.index(parent) :], parent])
            raise ConfigError(
                f"{source} is {quoted(parent)}, which makes a cycle: {circle}",
                hint="Take one of these extends out.",
            )
        chain.append(parent)
    result = Profile()
    for ancestor in reversed(chain):
        result = result.merged(profiles[ancestor])
    return result.model_copy(update={"description": profiles[name].description})


def _origin(layers: Sequence[tuple[str, ConfigFile]], *path: str) -> str:
    """The source of the last layer that sets the field at this path."""
    for source, layer in reversed(layers):
        at: Any = layer
        for name in path:
            if isinstance(at, Table):
                at = getattr(at, name) if name in at.model_fields_set else None
            else:
                at = at.get(name) if at is not None else None
        if at is not None:
            return source
    return _BUILT_IN


def _unknown_profile(name: str, profiles: Iterable[str], source: str) -> UnknownProfile:
    known = sorted(profiles)
    return UnknownProfile(
        f"{source} is {quoted(name)}, but no such profile is defined; there are: "
        f"{', '.join(known)}",
        hint=nearest(name, known) or f"Use one of them, or define [profiles.{name}].",
        details={"profile": name, "profiles": known},
    )
