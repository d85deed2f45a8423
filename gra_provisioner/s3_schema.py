"""What configuration may say of buckets of S3: ``[[profiles.lake.s3]]`` and what belongs to it.

Whether a pod may mount them by s3fs is for :mod:`.backends.kubernetes.s3_sidecar` to say, since a
profile is for runners of either kind.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, s3fs(1).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr, model_validator

from . import runner
from .fields import AbsolutePath, Cpu, PositiveSize, Table, Text, VariableName, wrong_field
from .pod_schema import DnsSubdomain, KubernetesObject

if TYPE_CHECKING:
    from typing_extensions import Self

_OPTIONS = """
attr_timeout bucket_size cipher_suites compat_dir connect_timeout default_acl direct_io
disable_noobj_cache enable_content_md5 enable_noobj_cache enable_unsigned_payload entry_timeout
ipresolve kernel_cache list_object_max_keys max_dirty_data max_stat_cache_size max_thread_count
multipart_copy_size multipart_size multireq_max negative_timeout nocopyapi nodnscache
nomixupload nomultipart norenameapi noua noxmlns notsup_compat_dir parallel_count proxy
readwrite_timeout requester_pays retries singlepart_copy_limit stat_cache_expire
stat_cache_interval_expire storage_class streamupload update_parent_dir_stat use_rrs use_wtf8
use_xattr user_agent
"""
#: What s3fs can be told besides what gra tells it.  None of these can name a file, load code, show
#: a key, weaken TLS or change who may use the mount.
OPTIONS = frozenset(_OPTIONS.split())

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?![.-]))+[a-z0-9]", re.ASCII)
_ADDRESS = re.compile(r"[0-9]+(?:\.[0-9]+){3}", re.ASCII)
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_OPTION_VALUE = re.compile(r"[^\x00-\x20,\\\"'\x7f]+")
_UMASK = re.compile(r"0?[0-7]{3}", re.ASCII)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_OBJECT_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_LONGEST_KEY = 1024
_CA = (
    "must be the absolute path of a bundle of certificates, or for pods "
    '{config_map = "NAME", key = "ca.crt"}'
)

# Nothing may be mounted in these, at these, or around these.
_RESERVED = (
    "/dev",
    "/etc",
    "/opt/gra",
    "/proc",
    "/run/gra",
    "/run/gra-s3",
    "/run/gra-s3-ca",
    "/run/secrets",
    "/sys",
)
_PROGRAMS = ("/bin", "/lib", "/lib32", "/lib64", "/sbin", "/usr")
# What stands there must be there, but something may be mounted below.
_NEEDED = ("/home/runner", "/tmp", "/workspace")  # noqa: S108


def _bucket(name: str) -> str:
    if not 3 <= len(name) <= 63 or not _BUCKET.fullmatch(name) or _ADDRESS.fullmatch(name):
        raise ValueError(
            "must be the name of a bucket: 3 to 63 lower-case letters, digits, '-' and '.', "
            "without s3:// and without a path"
        )
    return name


def _prefix(prefix: str) -> str:
    bare = prefix.strip("/")
    if not bare:
        return ""
    if _UNSAFE.search(bare) or {".", "..", ""} & set(bare.split("/")):
        raise ValueError(
            'must be a path in the bucket without ".", ".." and empty parts, for example "team/a"'
        )
    if len(bare.encode("utf-8", "surrogatepass")) > _LONGEST_KEY:
        raise ValueError(f"must have at most {_LONGEST_KEY} bytes")
    return bare


def is_within(path: str, folder: str) -> bool:
    """Whether the path is that folder, or in it.  Both are absolute and normal."""
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def _mount_path(path: str) -> str:
    bare = path.rstrip("/")
    if not path.startswith("/") or _UNSAFE.search(path) or ":" in path:
        raise ValueError(
            'must be an absolute path in the runner, without ":" and control characters, for '
            'example "/data/lake"'
        )
    if not bare or posixpath.normpath(bare) != bare:
        raise ValueError('must be a path below "/", without ".", ".." and empty parts')
    for folder in (*_RESERVED, *_PROGRAMS):
        if is_within(bare, folder) or is_within(folder, bare):
            raise ValueError(f"must not be in, at or around {folder}, which the runner needs")
    for folder in _NEEDED:
        if is_within(folder, bare):
            raise ValueError(
                f"must not be at or around {folder}, which the runner needs; in it, it may be"
            )
    return bare


def _endpoint(url: str) -> str:
    rule = (
        "must be the URL of an S3 server, http:// or https:// and a host, for example "
        '"https://s3.example.com"'
    )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(rule) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s,\\]", url):
        raise ValueError(rule)
    if "@" in parts.netloc:
        raise ValueError(
            f"{rule}; without a user or a password: `credentials` says where those are"
        )
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"{rule}; without anything behind ? or #")
    return url.rstrip("/")


def _region(name: str) -> str:
    if name and not _REGION.fullmatch(name):
        raise ValueError('must be the name of a region, for example "eu-central-1"')
    return name


def _umask(text: str) -> str:
    if not _UMASK.fullmatch(text):
        raise ValueError('must be permissions in octal, in quotes, for example "0022"')
    return text.rjust(4, "0")


def _option_name(name: str) -> str:
    if name not in OPTIONS:
        raise ValueError("must be an option of s3fs that gra does not set itself: see docs/s3.md")
    return name


def _option_value(value: object) -> object:
    if value is True or (isinstance(value, str) and _OPTION_VALUE.fullmatch(value)):
        return value
    raise ValueError(
        'must be a text in quotes without spaces, commas and quotes, for example "5", or true'
    )


def _object_key(name: str) -> str:
    if not _OBJECT_KEY.fullmatch(name):
        raise ValueError("must be the name of a key: letters, digits, '-', '_' and '.'")
    return name


class Source(Table):
    """One part of the credentials: a ``key`` of the Secret, or a variable of the client."""

    key: Annotated[Text, AfterValidator(_object_key)] | None = None
    from_env: VariableName | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.key is None) == (self.from_env is None):
            raise ValueError('must be {from_env = "NAME"}, or with secret the name of a key in it')
        return self


def _source(value: object) -> object:
    if isinstance(value, str):
        return {"key": value}
    if isinstance(value, (Mapping, Source)):
        return value
    raise ValueError('must be {from_env = "NAME"}, or with secret the name of a key in it')


_Source = Annotated[Source, BeforeValidator(_source)]


class Credentials(Table):
    """Where a bucket's credentials come from: one of four.  Never the credentials themselves."""

    secret: DnsSubdomain | None = None
    access_key: _Source | None = None
    secret_key: _Source | None = None
    session_token: _Source | None = None
    profile: Text | None = None
    anonymous: StrictBool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        keys = (self.access_key, self.secret_key, self.session_token)
        variables = [key for key in keys if key is not None and key.from_env is not None]
        named = [key for key in keys if key is not None and key.key is not None]
        given = (bool(self.secret), bool(variables), bool(self.profile), self.anonymous)
        if sum(given) != 1:
            raise ValueError(
                'must be one of {secret = "NAME"}, {access_key = {from_env = "A"}, secret_key = '
                '{from_env = "B"}}, {profile = "NAME"} and {anonymous = true}'
            )
        if named and not self.secret:
            raise ValueError(
                'must have {from_env = "NAME"} where there is no secret: keys do not belong into '
                "configuration"
            )
        if variables and (self.access_key is None or self.secret_key is None):
            raise ValueError("must have both access_key and secret_key")
        return self

    def plain(self) -> runner.S3Credentials:
        """As plain data."""
        if self.anonymous:
            return runner.S3Credentials("anonymous")
        if self.profile:
            return runner.S3Credentials("profile", self.profile)
        found: dict[str, str] = {}
        for name in ("access_key", "secret_key", "session_token"):
            key = getattr(self, name)
            if key is not None:
                found[name] = key.from_env or key.key
        if self.secret:
            return runner.S3Credentials("secret", self.secret, **found)
        return runner.S3Credentials("environment", **{"session_token": "", **found})


class Ca(Table):
    """A bundle of certificates (PEM): a file, or for pods a key of a ConfigMap in the namespace."""

    path: AbsolutePath | None = None
    config_map: DnsSubdomain | None = None
    key: Annotated[Text, AfterValidator(_object_key)] = runner.S3Mount.ca_key

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.path is None) == (self.config_map is None):
            raise ValueError(_CA)
        return self


def _ca(value: object) -> object:
    if isinstance(value, str):
        return {"path": value}
    if isinstance(value, (Mapping, Ca)):
        return value
    raise ValueError(_CA)


class S3(Table):
    """One bucket: see :class:`gra_provisioner.runner.S3Mount`."""

    bucket: Annotated[Text, AfterValidator(_bucket)] | None = None
    prefix: Annotated[Text, AfterValidator(_prefix)] = ""
    mount: Annotated[Text, AfterValidator(_mount_path)] | None = None
    endpoint: Annotated[Text, AfterValidator(_endpoint)] | None = None
    region: Annotated[Text, AfterValidator(_region)] = ""
    read_only: StrictBool = False
    path_style: StrictBool | None = None
    via: Literal["s3fs", "volume", "fsspec"] = "s3fs"
    credentials: Credentials | None = None
    umask: Annotated[Text, AfterValidator(_umask)] = runner.S3Mount.umask
    options: dict[
        Annotated[StrictStr, AfterValidator(_option_name)],
        Annotated[Any, AfterValidator(_option_value)],
    ] = Field(default_factory=dict)
    ca: Annotated[Ca, BeforeValidator(_ca)] | None = None
    claim: DnsSubdomain | None = None
    csi: KubernetesObject | None = None

    @model_validator(mode="after")
    def _fits_its_way(self) -> Self:
        given = self.model_fields_set
        needed = {
            "s3fs": ("bucket", "mount"),
            "volume": ("mount",),
            "fsspec": ("bucket",),
        }[self.via]
        for name in needed:
            if getattr(self, name) is None:
                raise wrong_field(name, f'must be given where via is "{self.via}"')
        useless = {
            "s3fs": ("claim", "csi"),
            "volume": ("endpoint", "region", "path_style", "credentials", "umask", "options", "ca"),
            "fsspec": ("mount", "read_only", "umask", "options", "claim", "csi"),
        }[self.via]
        for name in useless:
            if name in given:
                raise wrong_field(name, f'must be left out where via is "{self.via}"')
        if self.via == "volume" and (self.claim is None) == (self.csi is None):
            raise wrong_field(
                "claim", 'must be given, or csi in its place, where via is "volume", and not both'
            )
        if self.csi is not None and not isinstance(self.csi.get("driver"), str):
            raise wrong_field("csi", 'must have "driver", the name of a CSI driver of the cluster')
        return self

    def plain(self) -> runner.S3Mount:
        """As plain data, with every default filled in."""
        endpoint = self.endpoint or aws_endpoint(self.region)
        style = self.path_style
        if style is None:
            # Amazon wants virtual hosts; a bucket with dots fits no certificate then.
            amazon = (urlsplit(endpoint).hostname or "").endswith(
                (".amazonaws.com", ".amazonaws.com.cn")
            )
            style = not amazon or "." in (self.bucket or "")
        volume: dict[str, Any] = {}
        if self.claim is not None:
            volume = {"persistentVolumeClaim": {"claimName": self.claim}}
        elif self.csi is not None:
            volume = {"csi": self.csi}
        ca = self.ca or Ca.model_construct()
        return runner.S3Mount(
            bucket=self.bucket or "",
            path=self.mount or "",
            endpoint=endpoint if self.via != "volume" else "",
            prefix=self.prefix,
            region=self.region,
            read_only=self.read_only,
            path_style=style,
            via=self.via,
            credentials=self.credentials.plain() if self.credentials else runner.S3Credentials(),
            umask=self.umask,
            options=dict(self.options),
            ca=ca.path or "",
            ca_config_map=ca.config_map or "",
            ca_key=ca.key,
            volume=volume,
        )


def aws_endpoint(region: str) -> str:
    """Amazon's own server for a region, or for whatever region a bucket is in.

    Source: https://docs.aws.amazon.com/general/latest/gr/s3.html
    """
    if not region:
        return "https://s3.amazonaws.com"
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def fit_together(mounts: tuple[S3, ...]) -> tuple[S3, ...]:
    """The buckets of one runner, or :class:`ValueError` where two are in each other's way."""
    placed = [mount.mount for mount in mounts if mount.mount is not None]
    for index, path in enumerate(placed):
        for other in placed[:index]:
            if path == other:
                raise ValueError(f'must not have two with the mount "{path}"')
            if is_within(path, other) or is_within(other, path):
                inner, outer = sorted((path, other), key=len, reverse=True)
                raise ValueError(f'must not have one mount in another: "{inner}" is in "{outer}"')
    servers = [mount.plain() for mount in mounts if mount.via == "fsspec"]
    shared: dict[str, list[Any]] = {
        "endpoint": [each.endpoint for each in servers],
        "region": [each.region for each in servers],
        "credentials": [each.credentials for each in servers],
        "ca": [(each.ca, each.ca_config_map, each.ca_key) for each in servers],
    }
    for name, values in shared.items():
        if any(value != values[0] for value in values):
            raise ValueError(
                f'must all have the same {name} where via is "fsspec": they share the variables '
                "by which Python finds it"
            )
    return mounts


class S3Sidecar(Table):
    """The container that mounts: see :class:`gra_provisioner.runner.S3Sidecar`."""

    image: Text = runner.S3Sidecar.image
    memory: PositiveSize = runner.S3Sidecar.memory
    cpu: Cpu = runner.S3Sidecar.cpu
    cache: PositiveSize = runner.S3Sidecar.cache
