"""What is to be mounted, and how it goes with it: plain data, checked.  Pure."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from .. import params
from ..failure import AgentError
from .signing import Credentials

#: Where the credentials come from.
SECRET = "secret"  # noqa: S105
OWN = "own"
ANONYMOUS = "anonymous"

WAITING = "waiting"
STARTING = "starting"
MOUNTED = "mounted"
FAILING = "failing"
FAILED = "failed"

# gra's own options, and those that would give away keys, fill the disk or weaken TLS.
REFUSED_OPTIONS = frozenset(
    (
        "ahbe_conf",
        "allow_other",
        "allow_root",
        "bucket",
        "credlib",
        "credlib_opts",
        "curldbg",
        "d",
        "dbglevel",
        "debug",
        "default_acl_file",
        "ecs",
        "endpoint",
        "ensure_diskfree",
        "f",
        "foreground",
        "gid",
        "iam_role",
        "ibm_iam_auth",
        "ibm_iam_endpoint",
        "logfile",
        "mp_umask",
        "no_check_certificate",
        "nonempty",
        "o",
        "passwd_file",
        "profile",
        "public_bucket",
        "region",
        "ro",
        "rw",
        "ssl_client_cert",
        "ssl_verify_hostname",
        "tmpdir",
        "uid",
        "umask",
        "url",
        "use_cache",
        "use_path_request_style",
        "use_session_token",
    )
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_OPTION = re.compile(r"[a-z][a-z0-9_]*")
_UMASK = re.compile(r"[0-7]{1,4}")
_MOST = 64


class Mount(NamedTuple):
    """A part of a bucket as a folder.

    ``prefix`` is empty for all of the bucket, and begins and ends without a slash; ``ca`` is the
    path of a bundle of certificates, or empty for the system's.
    """

    id: str
    bucket: str
    prefix: str
    path: str
    endpoint: str
    region: str
    read_only: bool
    path_style: bool
    uid: int
    gid: int
    umask: str
    credentials: str
    options: Tuple[Tuple[str, str], ...]
    ca: str

    @property
    def source(self) -> str:
        """For people: ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Mount:
        """Check one mount.  Raises :class:`AgentError` ``BadRequest`` naming the field."""
        if not isinstance(value, dict):
            raise AgentError("BadRequest", "A mount is to be a JSON object.")
        mount = cls(
            params.string(value, "id"),
            params.string(value, "bucket"),
            params.string(value, "prefix", "").strip("/"),
            params.string(value, "path"),
            params.string(value, "endpoint").rstrip("/"),
            params.string(value, "region", ""),
            params.flag(value, "read_only"),
            params.flag(value, "path_style"),
            params.integer(value, "uid"),
            params.integer(value, "gid"),
            params.string(value, "umask", "0022"),
            params.string(value, "credentials"),
            _options(value.get("options") or {}),
            params.string(value, "ca", ""),
        )
        problem = _problem(mount)
        if problem:
            raise AgentError("BadRequest", f"The mount {mount.id!r}: {problem}.")
        return mount


def _options(value: Any) -> Tuple[Tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise AgentError("BadRequest", "A mount's 'options' are to be a JSON object.")
    found = []
    for name, setting in sorted(value.items()):
        text = "" if setting is True else str(setting)
        if not _OPTION.fullmatch(name) or re.search(r"[,\s\0\\]", text):
            raise AgentError("BadRequest", f"A mount's option {name!r} is none of s3fs's.")
        if name in REFUSED_OPTIONS:
            raise AgentError("BadRequest", f"gra sets s3fs's option {name!r} itself.")
        found.append((name, text))
    return tuple(found)


def _problem(mount: Mount) -> Optional[str]:
    """What no s3fs should be started with, or None."""
    try:
        url = urlsplit(mount.endpoint)
        named = url.hostname is not None and (url.port is None or url.port > 0)
    except ValueError:
        return "the endpoint is no URL"
    rules = (
        (re.fullmatch(r"[A-Za-z0-9_-]{1,32}", mount.id), "its id is no name"),
        (_BUCKET.fullmatch(mount.bucket), "the bucket's name is none"),
        (_is_plain(mount.prefix), "the prefix has '.', '..' or control characters"),
        (
            mount.path.startswith("/") and mount.path != "/" and _is_plain(mount.path.strip("/")),
            "the path is not absolute and plain",
        ),
        (
            named and url.scheme in ("http", "https") and "@" not in url.netloc,
            "the endpoint is no URL of http or https without a user",
        ),
        (not re.search(r"[,\s\\]", mount.endpoint + mount.region), "the endpoint or region is odd"),
        (_UMASK.fullmatch(mount.umask), "the umask is not octal"),
        (mount.credentials in (SECRET, OWN, ANONYMOUS), "its credentials are of no known kind"),
    )
    return next((problem for good, problem in rules if not good), None)


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return not re.search(r"[\x00-\x1f\x7f]", path) and not {".", ".."} & set(parts)


def parse_all(value: Any) -> List[Mount]:
    """Check a list of mounts.  Raises :class:`AgentError` ``BadRequest``."""
    if not isinstance(value, list) or len(value) > _MOST:
        raise AgentError("BadRequest", f"The mounts are to be a list of at most {_MOST}.")
    mounts = [Mount.parse(item) for item in value]
    for name in ("id", "path"):
        if len({getattr(mount, name) for mount in mounts}) < len(mounts):
            raise AgentError("BadRequest", f"Two mounts have the same {name}.")
    return mounts


def parse_credentials(value: Any) -> Dict[str, Credentials]:
    """Keys by the id of their mount.  The error never shows a value."""
    if not isinstance(value, dict):
        raise AgentError("BadRequest", "The parameter 'credentials' is to be an object.")
    found = {}
    for id, fields in value.items():
        if not isinstance(fields, dict):
            raise AgentError("BadRequest", "A mount's credentials are to be an object.")
        key = Credentials(
            params.string(fields, "access_key"),
            params.string(fields, "secret_key"),
            params.optional_string(fields, "session_token") or "",
        )
        if not key.access_key or not key.secret_key or any(re.search(r"[\0\s]", k) for k in key):
            raise AgentError("BadRequest", "A mount's credentials are empty or have blanks.")
        found[id] = key
    return found


class Status(NamedTuple):
    """How it goes with a mount.  ``since`` is seconds since the epoch."""

    state: str
    reason: str = ""
    message: str = ""
    hint: str = ""
    since: float = 0.0

    @classmethod
    def of_error(cls, state: str, error: AgentError, since: float) -> Status:
        return cls(state, error.reason, error.message, error.hint, since)

    def same_as(self, other: Status) -> bool:
        """Whether nothing new is said."""
        return self[:4] == other[:4]

    def document(self, mount: Mount) -> Dict[str, Any]:
        """The JSON object that clients get."""
        return {
            "id": mount.id,
            "bucket": mount.bucket,
            "prefix": mount.prefix,
            "path": mount.path,
            **self._asdict(),
        }
